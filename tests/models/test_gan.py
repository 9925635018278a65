import pytest
import torch
from torch import nn
from torch.testing import assert_close

from anogen import GAN, fit
from anogen.errors import UsageError
from anogen.models.adversarial import gradient_penalty

SHAPE = (1, 16, 16)
X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))


def model(**arguments) -> GAN:
    torch.manual_seed(0)
    return GAN(SHAPE, **({"latent": 4, "width": 4} | arguments))


def losses(gan: GAN, step: int | None = 1):
    torch.manual_seed(5)
    return gan.losses(X, step)


def test_descending_the_generator_s_loss_raises_the_discriminator_s_error():
    gan = model(r1=0.0)
    before = losses(gan).players
    gradients = torch.autograd.grad(before["generator"], list(gan.generator.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(gan.generator.parameters(), gradients, strict=True):
            parameter -= 0.01 * gradient / gradient.norm().clamp(min=1e-8)
    after = losses(gan).players
    assert after["generator"] < before["generator"]
    assert after["discriminator"] > before["discriminator"]


def test_the_penalty_comes_every_few_steps_and_touches_the_discriminator_only():
    gan, without = model(r1=2.0, penalty_every=4), model(r1=0.0)
    plain = losses(without).players
    for step in (1, 2, 3, 5, None):
        assert torch.equal(losses(gan, step).players["discriminator"], plain["discriminator"])
    found = losses(gan, 4).players
    expected = plain["discriminator"] + 4 * 2.0 * gradient_penalty(gan.logit, X).mean()
    assert_close(found["discriminator"], expected)
    assert torch.equal(found["generator"], plain["generator"])


@pytest.mark.parametrize(
    "options", [{"loss": "wasserstein", "r1": 0.0, "critic_steps": 2},
                {"loss": "relativistic", "r2": 1.0}, {"loss": "hinge"},
                {"spectral_norm": True}, {"discriminator_batch_norm": True, "r1": 0.0}]
)  # fmt: skip
def test_every_variant_trains(options, noise, tmp_path):
    run = fit(model(**options, penalty_every=2), noise, tmp_path / "run", epochs=2, batch_size=16)
    assert run.load_model().sample(2).shape == (2, *SHAPE)


def test_spectral_norm_bounds_every_layer():
    gan = model(spectral_norm=True)
    for _ in range(30):
        gan.discriminator(X)
    gan.eval()
    kinds = (nn.Conv2d, nn.Linear)
    weights = [m.weight.flatten(1) for m in gan.discriminator.modules() if isinstance(m, kinds)]
    norms = [torch.linalg.matrix_norm(weight, 2).item() for weight in weights]
    assert len(norms) >= 5
    assert max(norms) < 1.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"discriminator_batch_norm": True},
            "r1 need a discriminator that judges each image alone",
        ),
        (
            {"discriminator_batch_norm": True, "r1": 0.0, "loss": "relativistic"},
            "relativistic need",
        ),
        ({"loss": "hing"}, "did you mean 'hinge'"),
        ({"r1": -1.0}, "must not be negative"),
        ({"penalty_every": 0}, "penalty_every must be at least 1"),
    ],
)
def test_contradictions_are_refused_with_the_remedy(options, message):
    with pytest.raises(UsageError, match=message):
        model(**options)


class Unwatched(GAN):
    monitor = None


def test_without_a_monitor_the_last_epoch_is_taken_and_patience_has_no_sense(noise, tmp_path):
    gan = Unwatched(SHAPE, latent=3, width=4)
    with pytest.raises(UsageError, match="patience needs a monitor"):
        fit(gan, noise, tmp_path / "run", patience=3)
    run = fit(gan, noise, tmp_path / "run", epochs=1, batch_size=16)
    assert not run.checkpoint("best").exists()
    assert run.chosen(None) == "last"


def test_wasserstein_has_a_penalty_of_its_own_and_no_other():
    for options in ({"r1": 1.0}, {"r1": 0.0, "r2": 1.0}):
        with pytest.raises(UsageError, match="set r1 and r2 to 0"):
            model(loss="wasserstein", **options)
    with pytest.raises(UsageError, match="critic_steps must be at least 1"):
        model(critic_steps=0)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_the_generator_takes_every_few_steps_of_the_discriminator(every):
    gan = model(loss="wasserstein", r1=0.0, critic_steps=every)
    taken = [step for step in range(20) if "generator" in losses(gan, step).players]
    assert taken == list(range(every - 1, 20, every))
    assert all("discriminator" in losses(gan, step).players for step in range(5))
    assert set(losses(gan, None).players) == {"generator", "discriminator"}
