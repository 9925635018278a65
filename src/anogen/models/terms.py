"""The terms that losses are made of: one value per example, in nats or squared pixels."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_2PI = math.log(2 * math.pi)


def squared_error(x: Tensor, y: Tensor) -> Tensor:
    """Squared error summed over channels and pixels, on the [0, 1] scale (squared pixels): `[b]`.

    The reading of "loss" in the paper's Table 1.

    >>> squared_error(torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2))
    tensor([4., 4.])
    """
    return F.mse_loss(y, x, reduction="none").sum(tuple(range(1, x.ndim)))  # one pass of memory


def gaussian_nll(error: Tensor, pixels: int, log_sigma: Tensor | float) -> Tensor:
    """−log N(x; mean, σ²) in nats, summed over pixels, with its constant: `[b]`.

    Args:
        error: squared error of the mean, summed over pixels, `[b]`.
        pixels: how many values an image has.
        log_sigma: one number for all of them.

    >>> gaussian_nll(torch.zeros(1), 1, 0.0)
    tensor([0.9189])
    """
    log_sigma = torch.as_tensor(log_sigma, dtype=error.dtype, device=error.device)
    return error * (0.5 * torch.exp(-2 * log_sigma)) + pixels * (log_sigma + 0.5 * LOG_2PI)


def bernoulli_nll(x: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over pixels: `[b]`.

    For binary pixels this is −log p(x). For grey pixels it is a cross-entropy and no normalised
    density: compare it with other Bernoulli models only.

    >>> bernoulli_nll(torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)) / math.log(2)
    tensor([2.])
    """
    nll = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return nll.sum(tuple(range(1, x.ndim)))


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) ‖ N(0, 1)) in nats, one value per latent: `[b, latent]`.

    Source: Kingma & Welling 2014, appendix B.

    >>> kl_standard_normal(torch.ones(1, 2), torch.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


def total_correlation(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log q(z) − Σ log q(z_d) in nats, with q the mixture of a batch's posteriors: `[b]`.

    Its mean estimates the KL divergence of the latents from independent ones with the same margins.
    It differs from the estimate of the source by a constant, which depends on the number of images
    and has no gradient; both are biased, the more so the smaller the batch.

    Args:
        z: a draw from each posterior, `[b, latent]`.
        mu: means, `[b, latent]`.
        logvar: log-variances, `[b, latent]`.

    Source: Chen et al. 2018, section 3.1, minibatch-weighted sampling.

    >>> total_correlation(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3, 2))
    tensor([0., 0., 0.])
    """
    away = z[:, None] - mu
    each = -0.5 * (LOG_2PI + logvar + away.square() * torch.exp(-logvar))  # [b, b, latent]
    of_all = torch.logsumexp(each.sum(2), 1) - math.log(len(z))
    alone = torch.logsumexp(each, 1) - math.log(len(z))
    return of_all - alone.sum(1)


def normal_log_density(z: Tensor, mu: Tensor | float, logvar: Tensor | float) -> Tensor:
    """log N(z; mu, exp(logvar)) in nats, summed over the last dimension."""
    logvar = torch.as_tensor(logvar, dtype=z.dtype, device=z.device)
    return -0.5 * (LOG_2PI + logvar + (z - mu).square() * torch.exp(-logvar)).sum(-1)
