"""The contrastive prior against the closed forms of PyTorch's distributions."""

import torch
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from anogen import NCPVAE

SHAPE = (1, 16, 16)
X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))


def model(**arguments) -> NCPVAE:
    torch.manual_seed(0)
    return NCPVAE(SHAPE, **({"latent": 3, "width": 4} | arguments))


def test_the_kl_from_the_wide_prior_is_that_of_two_gaussians():
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    posterior = Normal(mu, (0.5 * logvar).exp())
    for width in (1.5, 3.0, 7.0):
        expected = kl_divergence(posterior, Normal(0.0, width)).sum(1)
        assert_close(model(contrast_width=width)._from_wide(mu, logvar), expected)
    narrow = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    wide = kl_divergence(posterior, Normal(0.0, 3.0)).sum(1)
    assert_close(model().contrast_log_ratio(mu, logvar), narrow - wide)


def test_the_loss_adds_the_kl_of_noisy_images_with_its_weight():
    parts = {}
    for weight in (0.0, 1.0, 2.5):
        ncp = model(contrast=weight)
        torch.manual_seed(5)
        found = ncp.losses(X)
        parts[weight] = found.players["vae"], found.terms["contrast_nats"].mean()
    plain, contrast = parts[0.0]
    for weight in (1.0, 2.5):
        assert_close(parts[weight][0] - plain, weight * contrast, rtol=1e-3, atol=1e-4)
    assert contrast > 0


def test_noisy_images_are_images_and_as_noisy_as_said(monkeypatch):
    ncp, seen = model(contrast_noise=0.25), []
    posterior = ncp.posterior

    def watched(x):
        seen.append(x)
        return posterior(x)

    monkeypatch.setattr(ncp, "posterior", watched)
    grey = torch.full((64, *SHAPE), 0.5)
    ncp.losses(grey)
    (both,) = seen
    assert torch.equal(both[:64], grey)
    noise = both[64:] - grey
    assert both.min() >= 0
    assert both.max() <= 1
    clipped = Normal(0.0, 0.25).sample((100_000,)).clamp(-0.5, 0.5).std()
    assert abs(noise.std() - clipped) < 0.01
