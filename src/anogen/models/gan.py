"""The generative adversarial network, on the shapes of the paper's decoder and encoder."""

from typing import get_args

import torch
from torch import Generator, Tensor, nn

from anogen.errors import UsageError, unknown_name
from anogen.models.adversarial import (
    ADVERSARIAL,
    Adversarial,
    gradient_penalty,
    unit_gradient_penalty,
)
from anogen.models.base import GenerativeModel, Losses
from anogen.nets.conv import Activation, ConvDecoder, ConvEncoder, Shape


class GAN(GenerativeModel):
    """Generative adversarial network: a generator and a discriminator, each with its own loss.

    The generator has the shape of the paper's decoder, with a sigmoid; the discriminator that of
    its encoder, with one logit. Both losses come from one forward pass. The penalties on the
    discriminator's gradient are added every `penalty_every` steps with that factor, so that their
    mean weight is the same at a fraction of the cost (Karras et al. 2020, section 2.2).

    Args:
        shape: channels, height and width of the images.
        latent: length of the noise vector, standard normal.
        loss: `non_saturating`, `saturating`, `hinge`, `wasserstein` (with its gradient penalty of
            weight 10) or `relativistic`.
        r1: weight of the gradient penalty on real images; it needs a discriminator without batch
            normalisation, so set it to 0 for one with it.
        r2: weight of the gradient penalty on generated images.
        penalty_every: steps between penalties.
        spectral_norm: bound the Lipschitz constant of the discriminator's layers (Miyato 2018).
        discriminator_batch_norm: the paper's discriminator has it; it couples the images of a
            batch, so it cannot go with penalties, `wasserstein` or `relativistic`.
        batch_norm: normalisation in the generator.
        width: filters of the layers at full size; see `anogen.nets.conv.ConvEncoder`.
        depth: how often the image size is halved.
        dropout: probability of dropping a channel of the discriminator.
        activation: `leaky_relu`, `relu`, `silu` or `elu`.

    Raises:
        UsageError: options that contradict one another, or images too small.

    Source: Goodfellow et al. 2014; the paper, section 3.2.

    Example:
        >>> import torch
        >>> model = GAN((1, 28, 28), latent=8)
        >>> sorted(model.losses(torch.rand(4, 1, 28, 28), step=0).players)
        ['discriminator', 'generator']
    """

    monitor = None

    def __init__(
        self,
        shape: Shape,
        latent: int = 64,
        *,
        loss: Adversarial = "non_saturating",
        r1: float = 1.0,
        r2: float = 0.0,
        penalty_every: int = 8,
        spectral_norm: bool = False,
        discriminator_batch_norm: bool = False,
        batch_norm: bool = True,
        width: int = 32,
        depth: int = 2,
        dropout: float = 0.0,
        activation: Activation = "leaky_relu",
    ) -> None:
        super().__init__()
        refuse_adversarial_contradictions(
            loss, r1=r1, r2=r2, penalty_every=penalty_every, batch_norm=discriminator_batch_norm
        )
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self.latent, self.r1, self.r2, self.penalty_every = latent, r1, r2, penalty_every
        self.loss: Adversarial = loss
        self.generator = ConvDecoder(
            shape, latent, width=width, depth=depth, batch_norm=batch_norm, activation=activation
        )
        self.discriminator = ConvEncoder(
            shape, 1, width=width, depth=depth, dropout=dropout, activation=activation,
            batch_norm=discriminator_batch_norm, spectral_norm=spectral_norm,
        )  # fmt: skip

    def players(self) -> dict[str, list[nn.Module]]:
        """The generator and the discriminator."""
        return {"generator": [self.generator], "discriminator": [self.discriminator]}

    def losses(self, x: Tensor, step: int | None = None) -> Losses:
        """Both players' losses, and per example the logits of real and of generated images."""
        fake = self.decode(torch.randn(len(x), self.latent, device=x.device))
        real_logit, fake_logit = self.logit(torch.cat([x, fake])).chunk(2)
        kind = ADVERSARIAL[self.loss]
        discriminator = kind.discriminator(real_logit, fake_logit).mean()
        if step is not None and step % self.penalty_every == 0:
            discriminator = discriminator + self.penalty_every * self._penalty(x, fake)
        generator = kind.generator(real_logit, fake_logit).mean()
        return Losses(
            {"generator": generator, "discriminator": discriminator},
            logit_terms(real_logit, fake_logit),
        )

    def sample(self, count: int, generator: Generator | None = None) -> Tensor:
        """Generated images: float32 `[count, c, h, w]` in [0, 1]."""
        device = self.generator.stem.weight.device
        return self.decode(torch.randn(count, self.latent, generator=generator).to(device))

    def decode(self, z: Tensor) -> Tensor:
        """The image of a noise vector `[b, latent]`: float32 `[b, c, h, w]` in [0, 1]."""
        return torch.sigmoid(self.generator(z).float())

    def logit(self, x: Tensor) -> Tensor:
        """How real an image seems, as a logit: float32 `[b]`."""
        return self.discriminator(x).float()[:, 0]

    def _penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        total = real.new_zeros(())
        if self.r1:
            total = total + self.r1 * gradient_penalty(self.logit, real).mean()
        if self.r2:
            total = total + self.r2 * gradient_penalty(self.logit, fake).mean()
        if self.loss == "wasserstein":
            total = total + 10 * unit_gradient_penalty(self.logit, real, fake.detach()).mean()
        return total


def logit_terms(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """What to watch of a game, per example: logits, and whether the discriminator was right."""
    return {
        "real_logit": real,
        "fake_logit": fake,
        "accuracy_real": (real > 0).float(),
        "accuracy_fake": (fake < 0).float(),
    }


def refuse_adversarial_contradictions(
    loss: str, *, r1: float, r2: float, penalty_every: int, batch_norm: bool
) -> None:
    """Refuse what cannot work, before training, with the remedy."""
    if loss not in ADVERSARIAL:
        raise unknown_name("loss", loss, get_args(Adversarial))
    if min(r1, r2) < 0 or penalty_every < 1:
        raise UsageError("r1 and r2 must not be negative, and penalty_every must be at least 1")
    coupled = [name for name, weight in (("r1", r1), ("r2", r2)) if weight]
    coupled += [loss] if loss in ("wasserstein", "relativistic") else []
    if batch_norm and coupled:
        raise UsageError(
            f"{', '.join(coupled)} need a discriminator that judges each image alone; set "
            "discriminator_batch_norm false, or r1 and r2 to 0 and another loss"
        )
