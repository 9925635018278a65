"""A VAE with a noise-contrastive prior: images made noisy are pulled to a wide prior."""

import math
from typing import Any

import torch
from torch import Tensor

from anogen.errors import UsageError
from anogen.models.base import Losses
from anogen.models.terms import kl_standard_normal
from anogen.models.vae import VAE
from anogen.nets import Shape


class NCPVAE(VAE):
    """Variational autoencoder whose encoder learns to be uncertain about what is not data.

    To the loss of `VAE` it adds `contrast`·KL(q(z|x̃) ‖ N(0, contrast_width²)) of images x̃ with
    Gaussian noise: beside the data, posteriors shall be wide and far out. The score `contrast`
    then says which of the two priors fits a posterior better.

    Reproduced from the sources: contrast by noisy inputs and a wide output prior (Hafner et al.),
    applied to a VAE's posterior as one more KL term (Ran et al.). Inferred, because the paper that
    cites them gives no details: the sizes of noise, width and weight, noisy images being clipped
    to [0, 1], the reconstruction of noisy images playing no part, and the score, a difference of
    two KL terms instead of a ratio of two bounds.

    Args:
        shape: channels, height and width of the images.
        latent: number of latent variables.
        contrast: weight of the term.
        contrast_noise: standard deviation of the noise, on the [0, 1] scale.
        contrast_width: standard deviation of the wide prior, more than 1.
        options: those of `VAE`.

    Raises:
        UsageError: as `VAE`, or a noise or width that contrasts nothing.

    Source: Hafner et al. 2018, section 2; Ran et al. 2022, section 3.

    Examples:
        >>> import torch
        >>> model = NCPVAE((1, 28, 28), latent=2)
        >>> "contrast_nats" in model.losses(torch.rand(4, 1, 28, 28)).terms
        True
    """

    recordable = True

    def __init__(
        self,
        shape: Shape,
        latent: int = 16,
        *,
        contrast: float = 1.0,
        contrast_noise: float = 0.5,
        contrast_width: float = 3.0,
        **options: Any,
    ) -> None:
        if options.get("text"):
            raise UsageError("NCPVAE takes no texts; take VAE, or GAN with its preset text")
        super().__init__(shape, latent, **options)
        if contrast < 0 or contrast_noise <= 0 or contrast_width <= 1:
            raise UsageError(
                "contrast must not be negative, contrast_noise must be positive and "
                "contrast_width more than 1"
            )
        self.contrast, self.contrast_noise = contrast, contrast_noise
        self.contrast_width = contrast_width

    def losses(self, x: Tensor, step: int | None = None, condition: Tensor | None = None) -> Losses:
        """The VAE's loss and terms, with the KL of noisy images from the wide prior, in nats."""
        noisy = (x + self.contrast_noise * torch.randn_like(x)).clamp(0, 1)
        mu, logvar = self.posterior(
            torch.cat([self._seen(x), noisy])
        )  # normalised together, as later alone
        plain = self._losses_at((mu[: len(x)], logvar[: len(x)]), x, step, condition)
        contrast = self._from_wide(mu[len(x) :], logvar[len(x) :])
        total = plain.players["vae"] + self.contrast * contrast.mean()
        return Losses({"vae": total}, {**plain.terms, "contrast_nats": contrast})

    def contrast_log_ratio(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """E_q[log N(z; 0, width²) − log N(z; 0, 1)] in nats, `[b]`; more is further out."""
        return kl_standard_normal(mu, logvar).sum(1) - self._from_wide(mu, logvar)

    def _from_wide(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """KL(q ‖ N(0, width²)) in nats, `[b]`."""
        width = self.contrast_width
        return kl_standard_normal(mu / width, logvar - 2 * math.log(width)).sum(1)
