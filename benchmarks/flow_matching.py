"""A flow in a model's latent space, trained by flow matching: what the mixture is compared with.

Lipman et al. 2023, "Flow matching for generative modeling", equation 14, with the paths of optimal
transport and σ_min = 0: a net learns the velocity of points on straight lines from noise to
latents, and latents are drawn by following it from noise, in 25 steps of Heun's method.
"""

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from anogen.models.encoding import Encoded

WIDTH, BLOCKS, FREQUENCIES = 256, 3, 16
BATCH, RATE, WARMUP, DECAY = 512, 2e-3, 100, 0.999
SOLVER_STEPS = 25


class Block(nn.Module):
    """x + W₂ silu(W₁ norm(x)), the identity to begin with."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(self.norm(x))))


class Velocity(nn.Module):
    """The velocity of points `[b, latent]` at times `[b]` in [0, 1]."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent + 2 * FREQUENCIES, WIDTH), *(Block() for _ in range(BLOCKS)),
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, latent),
        )  # fmt: skip

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        angles = time[:, None] * math.pi * torch.arange(1, FREQUENCIES + 1)
        return self.layers(torch.cat([x, angles.cos(), angles.sin()], 1))


@dataclass(frozen=True)
class FlowMatchingSampler:
    """Latents of a flow that was fitted to latents drawn from posteriors."""

    net: Velocity
    mean: Tensor
    scale: Tensor
    name: ClassVar[str] = "flow matching"

    @classmethod
    def fit(cls, latents: Encoded, steps: int) -> "FlowMatchingSampler":
        torch.manual_seed(0)
        z = latents.drawn()
        count, latent = z.shape
        mean, scale = z.mean(0), z.std(0)
        net = Velocity(latent)
        average = copy.deepcopy(net).requires_grad_(False)
        optimizer = torch.optim.Adam(net.parameters(), RATE, betas=(0.9, 0.99), fused=True)
        for step in range(steps):
            cosine = (1 + math.cos(math.pi * step / steps)) / 2
            optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / WARMUP) * cosine
            ends = (latents.drawn(torch.randint(count, (BATCH,))) - mean) / scale
            starts, time = torch.randn(BATCH, latent), torch.rand(BATCH)
            velocity = net(torch.lerp(starts, ends, time[:, None]), time)
            loss = F.mse_loss(velocity, ends - starts)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay = min(DECAY, (step + 1) / (step + 11))
            for kept, new in zip(average.parameters(), net.parameters(), strict=True):
                kept.lerp_(new.detach(), 1 - decay)
        return cls(average, mean, scale)

    @torch.inference_mode()
    def latents(self, count: int, generator: Generator, condition: Tensor | None) -> Tensor:
        del condition
        x = torch.randn(count, len(self.mean), generator=generator, dtype=torch.float32)
        step = 1 / SOLVER_STEPS
        for index in range(SOLVER_STEPS):
            now, later = (torch.full((count,), (index + i) * step) for i in (0, 1))
            first = self.net(x, now)
            x = x + step * (first + self.net(x + step * first, later)) / 2
        return self.mean + self.scale * x
