import math

import pytest
import torch
from torch.testing import assert_close

from anogen import GAN, StyleGAN
from anogen.errors import UsageError
from anogen.models.augmentation import AdaptiveAugmentation, _about_grey

X = torch.rand(64, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def augmentation(probability: float, target: float = 0.6) -> AdaptiveAugmentation:
    torch.manual_seed(0)
    augment = AdaptiveAugmentation(target)
    augment.probability.fill_(probability)
    return augment


def test_places_are_exact_in_bfloat16_too():
    with torch.autocast("cpu", torch.bfloat16):
        y = augmentation(0.0)(X)
    assert y.dtype == torch.float32
    assert_close(y, X, atol=1e-5, rtol=0)


def test_nothing_changes_without_a_target_at_probability_0_or_in_evaluation_mode():
    assert torch.equal(augmentation(0.7, target=0.0)(X), X)
    assert torch.equal(augmentation(0.7).eval()(X), X)
    assert_close(augmentation(0.0)(X), X, atol=1e-5, rtol=0)


@pytest.mark.parametrize("probability", [0.2, 0.8])
def test_images_are_changed_as_often_as_the_probability_says(probability):
    augment = augmentation(probability)
    values = augment._some(torch.ones(20_000))
    assert values.mean().item() == pytest.approx(probability, abs=0.02)
    changed = (augment(X) - X).abs().amax((1, 2, 3)) > 1e-3
    untouched = (1 - probability) ** 9  # each of nine transformations alone; some do nothing
    assert changed.float().mean().item() > 1 - untouched - 0.3


def test_quarter_turns_and_mirrors_are_exact(monkeypatch):
    """With only whole turns and mirrors left, each image is one of its eight symmetric ones."""
    augment = augmentation(1.0)
    calls = iter(range(100))

    def some(values):
        return values if next(calls) < 2 else torch.zeros_like(values)

    monkeypatch.setattr(augment, "_some", some)
    y = augment(X)
    kinds = [torch.rot90(m, k, (2, 3)) for m in (X, X.flip(3)) for k in range(4)]
    found = torch.stack([(y - kind).abs().amax((1, 2, 3)) < 1e-4 for kind in kinds])
    assert found.any(0).all()
    assert found.any(1).all()


def test_hues_turn_about_grey():
    turn = _about_grey(torch.tensor([0.0, 2 * math.pi / 3, 1.0]))
    assert_close(turn[0], torch.eye(3))
    assert_close(turn[1] @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    grey = torch.full((3,), 0.4)
    assert_close(turn @ grey, grey.expand(3, 3))
    assert_close(turn[2] @ turn[2].T, torch.eye(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("loss", "real", "fake", "way"),
    [
        ("non_saturating", 1.0, -1.0, 1),
        ("non_saturating", -1.0, -2.0, -1),
        ("relativistic", -1.0, -2.0, 1),
        ("wasserstein", -2.0, -1.0, -1),
    ],
)
def test_the_probability_follows_what_the_discriminator_is_sure_of(loss, real, fake, way):
    augment = augmentation(0.5)
    augment.follow(torch.full((50,), real), torch.full((50,), fake), loss)
    assert augment.probability.item() == pytest.approx(0.5 + way * 50 / 100_000)
    augment.eval().follow(torch.full((50,), real), torch.full((50,), fake), loss)
    assert augment.probability.item() == pytest.approx(0.5 + way * 50 / 100_000)
    for edge in (0.0, 1.0):
        augment = augmentation(edge)
        augment.follow(torch.full((50,), 2 * edge - 1), torch.zeros(50), "non_saturating")
        assert augment.probability.item() == edge


@pytest.mark.parametrize("kind", [GAN, StyleGAN])
def test_a_discriminator_sees_augmented_images_and_the_probability_is_kept(kind):
    torch.manual_seed(0)
    model = kind((1, 16, 16), latent=4, width=4, ada=0.6)
    plain = kind((1, 16, 16), latent=4, width=4)
    plain.load_state_dict(model.state_dict(), strict=False)
    x = X[:16, :1, :16, :16]

    def losses(model, seed=3):
        torch.manual_seed(seed)
        return model.losses(x, step=1).players["discriminator"]

    before = losses(model)
    assert_close(before, losses(plain), rtol=1e-4, atol=1e-5)  # the probability was 0
    model.augment.probability.fill_(0.9)
    assert abs(losses(model) - before) > 1e-4
    assert "augment.probability" in model.state_dict()
    assert "augment.probability" not in plain.state_dict()  # nothing to keep


@pytest.mark.parametrize("target", [-0.1, 1.0])
def test_a_target_that_makes_no_sense_is_refused(target):
    with pytest.raises(UsageError, match="ada must lie in"):
        GAN((1, 16, 16), ada=target)
