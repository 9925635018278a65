"""What a discriminator says of real and of generated images with their conditions, and its uses."""

import torch
from torch import Tensor

from anogen.errors import UsageError
from anogen.models.adversarial import AdversarialLoss
from anogen.nets.condition import Condition


class Judgement:
    """A discriminator's outputs for a batch, and the losses of both players that follow.

    Only what is said of real images teaches the net that makes vectors of conditions: otherwise a
    generator would be right by making conditions mean what it draws.

    Args:
        condition: of the model.
        real: outputs for real images, `[b, outputs]`.
        fake: outputs for generated ones, of the same conditions.
        vector: the vectors of the conditions, `[b, size]`, or None.
        given: the conditions as they were given.

    Attributes:
        real_logit: how real the real images seem, `[b]`.
        fake_logit: how real the generated ones seem, `[b]`.
    """

    def __init__(
        self,
        condition: Condition,
        real: Tensor,
        fake: Tensor,
        vector: Tensor | None,
        given: Tensor | None,
    ) -> None:
        self._condition, self._real, self._fake = condition, real, fake
        self._vector, self._given = vector, given
        self.real_logit = condition.logit(real, vector)
        self.fake_logit = condition.logit(fake, held(vector))

    def discriminator_loss(
        self, kind: AdversarialLoss, contrast: float = 0.0, mismatched: float = 0.0
    ) -> Tensor:
        """A scalar: the adversarial loss, and how badly real images and conditions find each other.

        Args:
            kind: of the adversarial loss.
            contrast: weight of the latter.
            mismatched: share of the former that is about real images with the conditions of others
                in the place of generated ones.
        """
        loss = kind.discriminator(self.real_logit, self.fake_logit).mean()
        if mismatched and self._vector is not None and self._given is not None:
            others = self._condition.logit(self._real, self._vector.roll(1, 0))
            counts = self._condition.others(self._given).float()
            of_others = kind.discriminator(self.real_logit, others) * counts
            mean = of_others.sum() / counts.sum().clamp(min=1)
            loss = torch.lerp(loss, mean, mismatched)
        return loss + contrast * self.contrast_real() if contrast else loss

    def generator_loss(self, kind: AdversarialLoss, contrast: float = 0.0) -> Tensor:
        """A scalar: the adversarial loss, and how badly generated images find their conditions."""
        loss = kind.generator(self.real_logit, self.fake_logit).mean()
        return loss + contrast * self.contrast_fake() if contrast else loss

    def contrast_real(self) -> Tensor:
        """How badly real images and their conditions find each other, in nats, a scalar."""
        return self._condition.told_apart(self._real, self._vector, self._given).mean()

    def contrast_fake(self) -> Tensor:
        """The same of generated images."""
        return self._condition.told_apart(self._fake, held(self._vector), self._given).mean()


def held(vector: Tensor | None) -> Tensor | None:
    """The vectors as they are, so that what they were made of does not learn from their use."""
    return None if vector is None else vector.detach()


def check_conditional_options(
    contrast: float, mismatched: float, contrast_first: float = 0.0
) -> None:
    """Refuse weights and shares that mean nothing."""
    if not 0 <= contrast_first < 1:
        raise UsageError(f"contrast_first must lie in [0, 1), found {contrast_first}")
    if contrast < 0 or not 0 <= mismatched < 1:
        raise UsageError(
            "contrast must not be negative, and mismatched must lie in [0, 1): found "
            f"{contrast} and {mismatched}"
        )
