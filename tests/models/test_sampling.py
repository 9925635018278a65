import numpy as np
import pytest
import torch

from anogen import GAN, Images, MixtureSampler
from anogen.checkpoint import save_checkpoint
from anogen.errors import UsageError
from anogen.models.sampling import draw, load_sampler, make_sampler, save_sampler
from anogen.models.terms import kl_standard_normal
from anogen.nets.condition import condition_on

GENERATOR = torch.Generator


class Lookup(torch.nn.Module):
    """Encodes an image as its first two pixels, so that the latents are known."""

    shape, latent = (1, 16, 16), 2

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.classes, self.weight = classes, torch.nn.Parameter(torch.zeros(1))
        self.condition = condition_on(classes)

    def posterior_mean(self, x):
        return x[:, 0, 0, :2]

    def decode(self, z, condition=None):
        return z


def two_clouds(count: int = 4000) -> Images:
    """Two clouds of latents, at 0.2 and 0.8, with a quarter of the images in the second."""
    rng = np.random.default_rng(0)
    labels = (rng.random(count) < 0.25).astype(np.int64)
    pixels = np.zeros((count, 1, 16, 16), np.uint8)
    pixels[:, 0, 0, :2] = 255 * (0.2 + 0.6 * labels[:, None]) + rng.normal(0, 8, (count, 2))
    return Images(pixels, "clouds", labels, ("low", "high"))


def test_a_mixture_puts_latents_where_the_data_lies():
    sampler = MixtureSampler.fit(Lookup(), two_clouds(), components=2)
    z = sampler.latents(4000, GENERATOR().manual_seed(0), None)
    high = z[:, 0] > 0.5
    assert high.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert z[high].mean(0).tolist() == pytest.approx([0.8, 0.8], abs=0.02)
    assert z[~high].std(0).tolist() == pytest.approx([8 / 255, 8 / 255], rel=0.15)


def test_a_conditional_model_has_one_mixture_for_each_label():
    sampler = MixtureSampler.fit(Lookup(classes=2), two_clouds(), components=3)
    label = torch.tensor([0, 1] * 500)
    z = sampler.latents(1000, GENERATOR().manual_seed(0), label)
    assert ((z[:, 0] > 0.5).long() == label).all()
    alone = MixtureSampler.fit(Lookup(), two_clouds(), components=1)
    assert alone.latents(1000, GENERATOR().manual_seed(0), label).abs().max() < 5


@pytest.mark.parametrize("classes", [0, 2])
def test_the_same_generator_gives_the_same_latents_also_of_what_was_kept(classes, tmp_path):
    sampler = MixtureSampler.fit(Lookup(classes), two_clouds(200), components=2)
    save_sampler(tmp_path / "kept", sampler, "abc")
    kept = load_sampler(tmp_path / "kept", "abc")
    assert load_sampler(tmp_path / "kept", "of other weights") is None
    label = torch.tensor([1] * 9) if classes else None
    first, again, other = (
        each.latents(9, GENERATOR().manual_seed(seed), label)
        for each, seed in ((sampler, 1), (kept, 1), (sampler, 2))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_tensors_that_are_no_sampler_are_said(tmp_path, capsys):
    sampler = MixtureSampler.fit(Lookup(), two_clouds(200), components=2)
    save_checkpoint(
        tmp_path / "kept", {"sampler": sampler.state() | {"means": torch.zeros(1, 3, 2)}},
        {"weights_sha256": "abc"},
    )  # fmt: skip
    assert load_sampler(tmp_path / "kept", "abc") is None
    assert "kept: damaged (sizes of tensors differ); samples come" in capsys.readouterr().err


class Blurred(Lookup):
    """A posterior as wide as the distance of the clouds."""

    def posterior(self, x):
        mean = self.posterior_mean(x)
        return mean, torch.full_like(mean, 2 * np.log(0.6))

    def kl(self, x):
        return kl_standard_normal(*self.posterior(x))


def test_latents_are_as_wide_as_the_posteriors():
    """Decoders are trained on draws from posteriors, not on their means."""
    sampler = MixtureSampler.fit(Blurred(), two_clouds(), components=2)
    z = sampler.latents(4000, GENERATOR().manual_seed(0), None)
    expected = (0.6**2 + 0.6**2 * 0.25 * 0.75) ** 0.5
    assert z.std(0).tolist() == pytest.approx([expected] * 2, rel=0.05)


def test_draw_gives_as_many_images_as_asked_in_passes(vae, digits):
    model = vae(digits.shape).eval()
    sampler = MixtureSampler.fit(model, digits.train, 3)
    with torch.inference_mode():
        drawn = torch.cat(list(draw(model, 7, GENERATOR().manual_seed(0), 3, sampler=sampler)))
    assert drawn.shape == (7, *digits.shape)


def test_what_cannot_be_sampled_is_refused(vae, digits):
    model = vae(digits.shape).eval()
    with pytest.raises(UsageError, match="GAN does not encode images"):
        MixtureSampler.fit(GAN(digits.shape, 4, width=4), digits.train)
    with pytest.raises(UsageError, match="components must be at least 1"):
        MixtureSampler.fit(model, digits.train, 0)
    with pytest.raises(UsageError, match="did you mean 'mixture'"):
        make_sampler("mixtur", model, digits.train)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs the images"):
        make_sampler("mixture", model, None)
    assert make_sampler("prior", model, None).name == "prior"
    assert make_sampler("auto", model, None).name == "prior"
    model.sampler = MixtureSampler.fit(model, digits.train, 2)
    for name in ("auto", "mixture"):
        assert make_sampler(name, model, None) is model.sampler
    model.sampler = None
    unlabelled = Images(digits.train.pixels, "plain")
    with pytest.raises(UsageError, match="needs labels, and plain has none"):
        MixtureSampler.fit(vae(digits.shape, classes=3).eval(), unlabelled)


def test_latents_have_the_covariance_of_the_data():
    """A factor transposed would have the right variances in all, and the wrong ones in each."""
    rng = np.random.default_rng(0)
    factor = np.array([[6.0, 0.0], [9.0, 12.0]])
    pixels = np.zeros((4000, 1, 16, 16), np.uint8)
    pixels[:, 0, 0, :2] = 128 + rng.normal(size=(4000, 2)) @ factor.T
    sampler = MixtureSampler.fit(Lookup(), Images(pixels, "correlated"), components=1)
    z = sampler.latents(20_000, GENERATOR().manual_seed(0), None).double().numpy()
    expected = np.cov((pixels[:, 0, 0, :2] / 255).T) + 1e-4 * np.eye(2)  # what the fit adds
    assert np.cov(z.T) == pytest.approx(expected, rel=0.08)
    assert expected[0, 0] < 0.5 * expected[1, 1]  # else a transposed factor could pass


class Middle:
    """The prior's mean for all, so that labels alone tell images apart."""

    name = "middle"

    def latents(self, count, generator, condition):
        return torch.zeros(count, 2)


def test_every_pass_has_the_labels_of_its_own_images(vae, digits):
    model = vae(digits.shape, classes=10).eval()
    label = torch.arange(10)
    passes = [torch.cat([*draw(model, 10, GENERATOR(), size, label, Middle())]) for size in (10, 3)]
    assert torch.allclose(*passes, atol=1e-5)
    assert not torch.allclose(passes[0][:3], passes[0][3:6], atol=1e-5)
