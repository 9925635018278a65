"""What images are damaged by before a model sees them, so that it learns to restore them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from anogen.data.corruptions import parts_of


class Damage:
    """Transformations of the catalogue, with strengths drawn for every image.

    Half of the images are afterwards brought to whole grey levels between black and white, as files
    hold them; the others keep what lies between and beyond, as sensors and published tests do.

    Args:
        corruption: one or several of `CORRUPTIONS`, with a strength or a range of strengths:
            `"gaussian_noise=0..0.2"`, `"blur=1+poisson_noise=20..100"`.

    Raises:
        UsageError: an unknown name, or a strength that is no number or out of bounds.

    Examples:
        >>> damaged, strengths = Damage("gaussian_noise=0..0.2")(torch.zeros(4, 1, 8, 8))
        >>> damaged.shape, strengths.shape, bool((strengths <= 0.2).all())
        (torch.Size([4, 1, 8, 8]), torch.Size([4, 1]), True)
    """

    def __init__(self, corruption: Any) -> None:
        self.parts = parts_of(corruption, "a corruption")
        self.name: str = corruption

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Damaged images and strengths; PyTorch's default generator decides what is random.

        Args:
            x: float `[b, c, h, w]` in [0, 1].

        Returns:
            float32 `[b, c, h, w]`, and the strength of each transformation, float32 `[b, k]`.
        """
        return self._apply(x, int(torch.randint(1 << 62, ())))

    def fixed(self, x: Tensor, seed: int) -> Tensor:
        """Damaged images, float32 `[b, c, h, w]`, the same for the same seed."""
        return self._apply(x, seed)[0]

    def _apply(self, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(seed)
        values = x.detach().float().cpu().numpy() * np.float32(255)
        lows, highs = ([getattr(part, end) for part in self.parts] for end in ("low", "high"))
        strengths = rng.uniform(lows, highs, (len(values), len(self.parts))).astype(np.float32)
        for column, part in enumerate(self.parts):
            if part.low == part.high:
                values = np.asarray(part.entry.apply(values, part.low, rng), np.float32)
                continue
            for row, strength in enumerate(strengths[:, column].tolist()):
                one = slice(row, row + 1)
                values[one] = part.entry.apply(values[one], strength, rng)
        as_files = rng.random(len(values)) < 0.5
        values[as_files] = np.clip(np.rint(values[as_files]), 0, 255)
        damaged = torch.from_numpy(values / np.float32(255)).to(x.device)
        return (
            damaged.contiguous(memory_format=torch.channels_last),
            torch.from_numpy(strengths).to(x.device),
        )
