"""Adversarial losses by name, and penalties on the discriminator: one value per example."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from anogen.errors import UsageError, unknown_name

Adversarial = Literal[
    "non_saturating", "saturating", "hinge", "least_squares", "wasserstein", "relativistic"
]

Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AdversarialLoss:
    """Two losses of logits `[b]` of real and of generated images, each `[b]`; both are minimised.

    Attributes:
        discriminator: real, fake → what the discriminator minimises.
        generator: real, fake → what the generator minimises.
        source: where it comes from.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    source: str


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real) + F.softplus(fake)


ADVERSARIAL: dict[str, AdversarialLoss] = {
    "non_saturating": AdversarialLoss(
        _cross_entropy, lambda _, fake: F.softplus(-fake), "Goodfellow et al. 2014, section 3"
    ),
    "saturating": AdversarialLoss(
        _cross_entropy, lambda _, fake: -F.softplus(fake), "Goodfellow et al. 2014, equation 1"
    ),
    "hinge": AdversarialLoss(
        lambda real, fake: F.relu(1 - real) + F.relu(1 + fake),
        lambda _, fake: -fake,
        "Lim & Ye 2017; Miyato et al. 2018, equations 16 and 17",
    ),
    "least_squares": AdversarialLoss(
        lambda real, fake: 0.5 * ((real - 1).square() + (fake + 1).square()),
        lambda _, fake: 0.5 * (fake - 1).square(),
        "Mao et al. 2017, equation 2 with a = −1 and b = c = 1",
    ),
    "wasserstein": AdversarialLoss(
        lambda real, fake: fake - real, lambda _, fake: -fake, "Arjovsky et al. 2017"
    ),
    "relativistic": AdversarialLoss(
        lambda real, fake: F.softplus(fake - real),
        lambda real, fake: F.softplus(real - fake),
        "Jolicoeur-Martineau 2019; Huang et al. 2024, equation 2",
    ),
}
"""Every adversarial loss by name."""
RELATIVE = ("relativistic", "wasserstein")
"""Those of which only the difference of two logits means something."""


def gradient_penalty(score: Score, x: Tensor) -> Tensor:
    """½‖∇ₓ score(x)‖², the zero-centred penalty: R1 on real images, R2 on generated ones: `[b]`.

    Computed in float32, with a graph, so that a discriminator can be trained with it.

    Args:
        score: images → logits `[b]`; must treat each image alone (no batch normalisation).
        x: `[b, ...]`.

    Source: Mescheder et al. 2018, equation 9.

    >>> gradient_penalty(lambda x: 3 * x.sum((1, 2, 3)), torch.zeros(2, 1, 1, 2))
    tensor([9., 9.])
    """
    return 0.5 * _gradient(score, x).square().sum(1)


def unit_gradient_penalty(score: Score, real: Tensor, fake: Tensor) -> Tensor:
    """(‖∇ score(x̂)‖ − 1)² at random points x̂ between real and generated images: `[b]`.

    Source: Gulrajani et al. 2017, equation 3.
    """
    shape = (len(real), *[1] * (real.dim() - 1))
    share = torch.rand(shape, device=real.device, dtype=real.dtype)
    between = torch.lerp(real, fake, share)
    return (_gradient(score, between).norm(dim=1) - 1).square()


def discriminator_penalty(
    score: Score, real: Tensor, fake: Tensor, loss: str, *, r1: float = 0.0, r2: float = 0.0
) -> Tensor:
    """The weighted penalties on a discriminator's gradient, a scalar, mean over images.

    R1 with weight `r1`, R2 with weight `r2`, and for the loss `wasserstein` its own with weight 10.
    """
    total = real.new_zeros(())
    if r1:
        total = total + r1 * gradient_penalty(score, real).mean()
    if r2:
        total = total + r2 * gradient_penalty(score, fake).mean()
    if loss == "wasserstein":
        total = total + 10 * unit_gradient_penalty(score, real, fake.detach()).mean()
    return total


def generator_rests(step: int | None, critic_steps: int) -> bool:
    """Whether a step trains the discriminator alone: all but every `critic_steps`-th.

    Source: Arjovsky et al. 2017, algorithm 1, n_critic.
    """
    return step is not None and (step + 1) % critic_steps != 0


def logit_terms(real: Tensor, fake: Tensor, loss: str) -> dict[str, Tensor]:
    """What to watch of a game, per example: logits, and whether the discriminator was right.

    Right is a logit on its side of 0; with the losses `relativistic` and `wasserstein`, which know
    only differences, a real image's logit above that of the generated one.
    """
    right = (real > fake, real > fake) if loss in RELATIVE else (real > 0, fake < 0)
    return {
        "real_logit": real,
        "fake_logit": fake,
        "accuracy_real": right[0].float(),
        "accuracy_fake": right[1].float(),
    }


def check_adversarial_options(
    loss: str, *, r1: float, r2: float, penalty_every: int, batch_norm: bool, critic_steps: int = 1
) -> None:
    """Refuse what cannot work, before training, with the remedy."""
    if loss not in ADVERSARIAL:
        raise unknown_name("loss", loss, get_args(Adversarial))
    if min(r1, r2) < 0 or penalty_every < 1:
        raise UsageError("r1 and r2 must not be negative, and penalty_every must be at least 1")
    if critic_steps < 1:
        raise UsageError(f"critic_steps must be at least 1, found {critic_steps}")
    if loss == "wasserstein" and (r1 or r2):
        raise UsageError(
            "wasserstein has a gradient penalty of its own, towards a norm of 1, which r1 and r2 "
            "contradict; set r1 and r2 to 0"
        )
    coupled = [name for name, weight in (("r1", r1), ("r2", r2)) if weight]
    coupled += [loss] if loss in ("wasserstein", "relativistic") else []
    if batch_norm and coupled:
        raise UsageError(
            f"{', '.join(coupled)} need a discriminator that judges each image alone; set "
            "discriminator_batch_norm false, or r1 and r2 to 0 and another loss"
        )


def _gradient(score: Score, x: Tensor) -> Tensor:
    """The gradient of each image's logit by the image, `[b, pixels]`."""
    x = x.detach().float().requires_grad_()
    with torch.autocast(x.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return gradient.flatten(1)
