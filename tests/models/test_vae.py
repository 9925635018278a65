import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from anogen import VAE
from anogen.errors import UsageError
from anogen.models.vae import MIN_SIGMA

SHAPE = (1, 16, 16)
X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))


def model(**arguments) -> VAE:
    torch.manual_seed(0)
    return VAE(SHAPE, **({"latent": 3, "width": 4} | arguments)).eval()


def losses(vae: VAE, step: int | None = None):
    torch.manual_seed(5)
    found = vae.losses(X, step)
    return found.players["vae"], found.terms


@pytest.mark.parametrize("likelihood", ["squared_error", "gaussian", "learned_sigma", "bernoulli"])
def test_beta_weighs_the_kl_and_nothing_else(likelihood):
    loss = {beta: losses(model(likelihood=likelihood, beta=beta)) for beta in (0.0, 1.0, 4.0)}
    kl = loss[1.0][1]["kl_nats"].mean()
    assert_close(loss[1.0][0] - loss[0.0][0], kl, rtol=1e-4, atol=1e-3)
    assert_close(loss[4.0][0] - loss[0.0][0], 4 * kl, rtol=1e-4, atol=1e-3)
    for name, term in loss[4.0][1].items():
        assert torch.equal(term, loss[1.0][1][name])


def test_the_paper_s_loss_is_the_sum_of_squares_plus_kl():
    loss, terms = losses(model())
    assert_close(
        loss, (terms["sampled_squared_error"] + terms["kl_nats"]).mean(), rtol=1e-5, atol=1e-3
    )


def test_squared_error_is_a_gaussian_of_sigma_root_half():
    ours, gaussian = model(), model(likelihood="gaussian", sigma=math.sqrt(0.5))
    name = "negative_elbo_nats"
    assert_close(losses(ours)[1][name], losses(gaussian)[1][name])


def test_capacity_grows_linearly():
    vae = model(capacity=10.0, capacity_steps=100, beta=3.0)
    plain, terms = losses(model(beta=0.0))
    kl = terms["kl_nats"].mean()
    for step, target in ((0, 0.0), (50, 5.0), (100, 10.0), (1000, 10.0), (None, 10.0)):
        expected = plain + 3 * (kl - target).abs()
        assert_close(losses(vae, step)[0], expected, rtol=1e-5, atol=1e-3)


def test_kl_warmup():
    vae, plain = model(kl_warmup_steps=200, beta=2.0), losses(model(beta=0.0))[0]
    kl = losses(vae)[1]["kl_nats"].mean()
    for step, weight in ((0, 0.0), (50, 0.5), (200, 2.0), (None, 2.0)):
        assert_close(losses(vae, step)[0], plain + weight * kl, rtol=1e-5, atol=1e-3)


def test_free_nats_hold_each_latent_free():
    plain = losses(model(beta=0.0))[0]
    per_latent = model().kl(X).mean(0).detach()
    free = float(per_latent.median())
    expected = plain + sum(max(free, float(kl)) for kl in per_latent)
    assert_close(losses(model(free_nats=free))[0], expected, rtol=1e-5, atol=1e-3)


def test_free_nats_are_of_the_batch_and_not_of_each_image():
    """Latents of 0 nats for one image and 2 for the other have spent 1, whatever one image did."""
    kl = torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    vae = model(latent=2, free_nats=0.5)
    assert vae._regulariser(kl, None) == 2.0
    assert vae._regulariser(torch.full((2, 2), 0.1), None) == 1.0


@pytest.mark.parametrize("options", [{}, {"beta": 9.0}, {"capacity": 5.0}, {"free_nats": 1.0}])
def test_the_elbo_is_the_same_true_bound_whatever_the_objective(options):
    torch.manual_seed(5)
    reference = model().elbo(X)
    torch.manual_seed(5)
    assert torch.equal(model(**options).elbo(X), reference)


def test_the_bounds_are_exact_where_the_latents_say_nothing():
    """Posterior = prior and a decoder blind to z: log p(x) is one Gaussian."""
    vae = model(likelihood="gaussian", sigma=0.4)
    for layer in (vae.encoder.head, vae.decoder.stem):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    mean = vae.decode(torch.zeros(1, 3))
    expected = torch.distributions.Normal(mean, 0.4).log_prob(X).sum((1, 2, 3))
    assert_close(vae.elbo(X), expected, rtol=1e-4, atol=1e-2)
    assert_close(vae.log_likelihood(X, 7), expected, rtol=1e-4, atol=1e-2)


def test_more_importance_samples_tighten_the_bound():
    vae = model(likelihood="gaussian", sigma=0.2)
    with torch.no_grad():
        vae.encoder.head.bias[3:] = 1.0  # a posterior that is too wide
        means = {}
        for samples in (1, 8, 64):
            torch.manual_seed(0)
            draws = [vae.log_likelihood(X, samples).mean() for _ in range(40)]
            means[samples] = float(torch.stack(draws).mean())
        torch.manual_seed(1)
        elbo = float(torch.stack([vae.elbo(X).mean() for _ in range(400)]).mean())
    assert means[1] < means[8] < means[64]
    assert means[1] == pytest.approx(elbo, abs=1.0)


def test_only_learned_sigma_is_learned():
    for likelihood in ("squared_error", "gaussian", "bernoulli"):
        assert not model(likelihood=likelihood).log_sigma.requires_grad
    vae = model(likelihood="learned_sigma", sigma=0.5)
    losses(vae)[0].backward()
    assert vae.log_sigma.grad is not None
    assert vae.log_sigma.grad != 0
    vae.log_sigma.data.fill_(-100.0)
    assert losses(vae)[0].isfinite()


def test_output_leaky_relu_is_unbounded_but_decode_is_clipped():
    vae = model(output="leaky_relu")
    nn.init.constant_(vae.decoder.layers[-1].bias, 3.0)
    assert losses(vae)[1]["sampled_squared_error"].mean() > 3 * 256
    assert vae.decode(torch.zeros(1, 3)).max() == 1


def test_a_subclass_may_have_arguments_of_its_own():
    class Fixed(VAE):
        def __init__(self, shape: tuple[int, int, int], size: int = 3) -> None:
            super().__init__(shape, size, width=4)

    assert Fixed(SHAPE).arguments == {"shape": SHAPE, "size": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent": 0}, "latent must be at least 1"),
        ({"likelihood": "gauss"}, "did you mean 'gaussian'"),
        ({"output": "tanh"}, "unknown output"),
        ({"beta": -1.0}, "beta must not be negative"),
        ({"sigma": 0.0}, "sigma must be at least"),
        ({"capacity": 3.0, "free_nats": 0.1}, "choose one"),
        (
            {"likelihood": "bernoulli", "output": "leaky_relu"},
            "reads the decoder's output as logits",
        ),
    ],
)
def test_contradictions_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        VAE(SHAPE, **arguments)


@pytest.mark.parametrize("below", [0.1, 3.0, 20.0])
def test_sigma_comes_back_from_below_its_floor(below):
    """However far down it is: a clamp alone has no gradient there."""
    torch.manual_seed(0)
    vae = VAE((1, 16, 16), 2, width=4, likelihood="learned_sigma")
    floor = math.log(MIN_SIGMA)
    with torch.no_grad():
        vae.log_sigma.fill_(floor - below)
    optimizer = torch.optim.SGD([vae.log_sigma], lr=1e-7)
    start = vae.log_sigma.item()
    for _ in range(5):
        optimizer.zero_grad()
        vae.losses(X).players["vae"].backward()
        assert vae.log_sigma.grad < 0
        optimizer.step()
    assert vae.log_sigma.item() > start


def test_sigma_is_not_driven_further_below_its_floor():
    vae = VAE((1, 16, 16), 2, width=4, likelihood="learned_sigma")
    floor = math.log(MIN_SIGMA)
    with torch.no_grad():
        vae.log_sigma.fill_(floor - 1e-3)
    perfect = torch.zeros(2, 1, 16, 16)
    raw = torch.full_like(perfect, -200.0)  # a reconstruction without any error
    (gradient,) = torch.autograd.grad(vae._nll(perfect, raw).mean(), vae.log_sigma)
    assert gradient == 0
    above = VAE((1, 16, 16), 2, width=4, likelihood="learned_sigma", sigma=0.1)
    (gradient,) = torch.autograd.grad(above._nll(perfect, raw).mean(), above.log_sigma)
    assert gradient.item() == pytest.approx(256)  # one for each pixel
    assert above._nll(perfect, raw)[0].item() == pytest.approx(
        256 * (math.log(0.1) + 0.5 * math.log(2 * math.pi)), rel=1e-5
    )


def test_the_total_correlation_is_weighed_beside_the_rest_of_the_kl():
    def losses(**arguments):
        vae = model(**arguments)
        torch.manual_seed(1)
        return vae.losses(X)

    plain, more = losses(beta=2.0), losses(beta=2.0, total_correlation=5.0)
    term = more.terms["total_correlation_nats"]
    assert term.shape == (len(X),)
    assert_close(
        more.players["vae"] - plain.players["vae"], 2.0 * 4 * term.mean(), rtol=1e-3, atol=1e-3
    )
    assert "total_correlation_nats" not in plain.terms
