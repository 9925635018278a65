"""Every term against PyTorch's distributions, which are another implementation."""

import torch
from torch import distributions as D
from torch.testing import assert_close

from anogen.models import terms

torch.manual_seed(0)
X, Y = torch.rand(4, 3, 5, 6, dtype=torch.float64), torch.rand(4, 3, 5, 6, dtype=torch.float64)
MU, LOGVAR = torch.randn(4, 7, dtype=torch.float64), torch.randn(4, 7, dtype=torch.float64)


def test_squared_error():
    assert_close(terms.squared_error(X, Y), ((X - Y) ** 2).sum((1, 2, 3)))


def test_gaussian_nll():
    expected = -D.Normal(Y, 0.3).log_prob(X).sum((1, 2, 3))
    log_sigma = torch.tensor(0.3, dtype=torch.float64).log()
    assert_close(terms.gaussian_nll(terms.squared_error(X, Y), X[0].numel(), log_sigma), expected)


def test_bernoulli_nll():
    bits = (X > 0.5).double()
    assert_close(terms.bernoulli_nll(bits, Y), -D.Bernoulli(logits=Y).log_prob(bits).sum((1, 2, 3)))


def test_kl():
    posterior, prior = D.Normal(MU, (0.5 * LOGVAR).exp()), D.Normal(0.0, 1.0)
    assert_close(terms.kl_standard_normal(MU, LOGVAR), D.kl_divergence(posterior, prior))


def test_normal_log_density():
    z = torch.randn(4, 7, dtype=torch.float64)
    assert_close(
        terms.normal_log_density(z, MU, LOGVAR),
        D.Normal(MU, (0.5 * LOGVAR).exp()).log_prob(z).sum(1),
    )
    assert_close(terms.normal_log_density(z, 0.0, 0.0), D.Normal(0.0, 1.0).log_prob(z).sum(1))


def test_total_correlation_is_that_of_the_mixture_of_posteriors():
    """Against a loop over images and latents, and by what it must be 0 for."""
    torch.manual_seed(0)
    mu, logvar, z = torch.randn(5, 3), torch.randn(5, 3), torch.randn(5, 3)
    expected = []
    for point in z:
        density = torch.exp(-0.5 * (terms.LOG_2PI + logvar + (point - mu) ** 2 / logvar.exp()))
        whole = density.prod(1).mean()
        alone = density.mean(0).prod()
        expected.append((whole / alone).log())
    assert_close(terms.total_correlation(z, mu, logvar), torch.stack(expected))
    one_moves = torch.zeros(5, 3)
    one_moves[:, 1] = mu[:, 1]
    free = terms.total_correlation(torch.randn(5, 3), one_moves, torch.zeros(5, 3))
    assert_close(free, torch.zeros(5), atol=1e-5, rtol=0)
