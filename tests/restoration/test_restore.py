"""`anogen.restore`: layouts, ways, masks and refusals."""

import numpy as np
import pytest
import torch

import anogen
from anogen import GAN, VAE, Restorer
from anogen.checkpoint import hash_of_tensors
from anogen.errors import DataError, MachineError, UsageError
from anogen.restoration.intervals import Intervals
from anogen.restoration.prior import gaussian_blur, most_likely

RNG = np.random.default_rng(0)


@pytest.fixture
def net() -> Restorer:
    torch.manual_seed(0)
    model = Restorer((1, 16, 16), width=4, levels=2, blocks=1)
    torch.nn.init.normal_(model.net.tail.weight, std=0.05)
    return model


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((20, 30), np.uint8), ((20, 30, 3), np.uint8), ((4, 20, 30), np.uint16),
        ((2, 3, 20, 30), np.float32), ((2, 20, 30, 1), np.float64), ((20, 30), np.bool_),
    ],
)  # fmt: skip
def test_what_comes_back_is_like_what_was_given(net, shape, kind):
    top = {np.uint8: 256, np.uint16: 65536, np.bool_: 2}.get(kind)
    given = RNG.random(shape) if top is None else RNG.integers(0, top, shape)
    given = given.astype(kind)
    before = given.copy()
    found = anogen.restore(net, given)
    assert found.images.shape == shape
    assert found.images.dtype == kind
    assert found.method == "net"
    assert np.array_equal(given, before)
    if kind is not np.bool_:
        assert not np.array_equal(found.images, given)


def test_sixteen_bits_stay(net):
    given = RNG.integers(0, 65536, (24, 24), np.uint16)
    found = anogen.restore(net, given).images
    eight = anogen.restore(net, (given >> 8).astype(np.uint8)).images
    assert len(np.unique(found)) > 256
    assert np.abs((found >> 8).astype(int) - eight).max() <= 2


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_an_image_gives_the_same_in_any_company(net, kind):
    given = RNG.random((7, 28, 30)) if kind is np.float64 else RNG.integers(0, 256, (7, 28, 30))
    given = given.astype(kind)
    whole = anogen.restore(net, given).images
    assert all(np.array_equal(anogen.restore(net, given[i]).images, whole[i]) for i in range(7))


def test_a_model_stays_as_it_was(net):
    net.train()
    anogen.restore(net, np.zeros((16, 16)))
    assert net.training


def test_what_is_known_stays_to_the_last_bit():
    model = Restorer((1, 16, 16), corruption="holes=0.2", width=4)
    given = RNG.normal(0, 3, (16, 16, 3))
    mask = RNG.random((16, 16)) < 0.2
    found = anogen.restore(model, given, mask=mask).images
    assert np.array_equal(found[~mask], given[~mask])


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (1, 40)])
def test_tiny_pictures(net, size):
    told = Restorer((1, 16, 16), width=4, blind=False)
    alone = Restorer((1, 16, 16), width=4, learning="noise_to_self")
    for model in (net, told, alone):
        assert anogen.restore(model, np.zeros(size)).images.shape == size


def test_colours_are_restored_one_by_one_by_a_net_for_grey(net):
    given = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    whole = anogen.restore(net, given).images
    for colour in range(3):
        alone = anogen.restore(net, given[:, :, colour]).images
        assert np.array_equal(whole[:, :, colour], alone)


def test_only_missing_pixels_change():
    torch.manual_seed(0)
    model = Restorer((1, 16, 16), corruption="holes=0.1..0.3", width=4)
    torch.nn.init.normal_(model.net.tail.weight, std=0.1)
    given = RNG.integers(0, 256, (3, 16, 16), np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:8, 2:9] = 255
    found = anogen.restore(model, given, mask=mask).images
    assert np.array_equal(found[:, mask == 0], given[:, mask == 0])
    assert not np.array_equal(found[:, mask > 0], given[:, mask > 0])
    other = given.copy()
    other[:, mask > 0] = 0  # what is missing has no say
    assert np.array_equal(anogen.restore(model, other, mask=mask).images, found)


def test_a_prior_finds_what_it_can_draw():
    torch.manual_seed(0)
    model = VAE((1, 16, 16), latent=3, width=4).eval()
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.mul_(2)
        x = model.decode(torch.tensor([[1.0, -1.0, 0.5]]))
        known = torch.ones(1, 1, 16, 16, dtype=torch.bool)
        known[:, :, :8] = False
        seen = torch.where(known, x, torch.rand_like(x))
        blurred = gaussian_blur(1.0, x)(x)
    for damage in ({"seen": seen, "known": known}, {"seen": blurred, "blur": 1.0}):
        found = most_likely(model, noise=0.01, steps=400, **damage)
        assert (found - x).square().mean() < 0.1 * (seen - x).square().mean()


def test_a_prior_gives_an_image_the_same_result_in_any_company():
    torch.manual_seed(0)
    model = GAN((1, 16, 16), latent=4, width=4, classes=2)
    given = RNG.integers(0, 256, (3, 16, 16), np.uint8)
    whole = anogen.restore(model, given, steps=3)
    assert whole.method == "prior"
    for index in range(3):
        alone = anogen.restore(model, given[index], steps=3).images
        assert np.array_equal(whole.images[index], alone)


@pytest.mark.parametrize("kind", [VAE, GAN])
def test_a_prior_fills_holes_and_sharpens(kind):
    torch.manual_seed(0)
    model = kind((1, 16, 16), latent=4, width=4)
    given = RNG.integers(0, 256, (2, 16, 16), np.uint8)
    mask = np.zeros((16, 16), np.bool_)
    mask[3:9, 3:9] = True
    filled = anogen.restore(model, given, mask=mask, steps=3).images
    assert np.array_equal(filled[:, ~mask], given[:, ~mask])
    assert not np.array_equal(filled[:, mask], given[:, mask])
    sharp = anogen.restore(model, given, damage="blur=1+gaussian_noise=0.05", steps=3)
    assert sharp.method == "prior"
    assert not np.array_equal(sharp.images, anogen.restore(model, given, steps=3).images)


def test_intervals_hold_what_they_promise():
    torch.manual_seed(0)
    model = Restorer((1, 16, 16), corruption="gaussian_noise=0.2", width=4)
    x = np.kron(RNG.integers(60, 190, (400, 1, 4, 4), np.uint8), np.ones((4, 4), np.uint8))
    seen, fresh = anogen.Images(x[:200], "seen"), anogen.Images(x[200:], "fresh")
    for share in (0.5, 0.9):
        intervals = Intervals.fit(model, seen, share)
        given = anogen.corrupt(fresh, "gaussian_noise=0.2", seed=3).pixels[:, 0]
        found = anogen.restore(model, given, intervals=intervals)
        inside = (found.low <= x[200:, 0]) & (x[200:, 0] <= found.high)
        assert inside.mean() == pytest.approx(share, abs=0.04)
        assert (found.low <= found.images).all()
        assert (found.images <= found.high).all()
    with pytest.raises(UsageError, match=r"5 validation images support no interval of 0\.9; 10 do"):
        Intervals.fit(model, seen[:5], 0.9)
    with pytest.raises(UsageError, match="interval needs a run"):
        anogen.restore(model, given, interval=0.9)
    with pytest.raises(UsageError, match="trained with a corruption"):
        Intervals.fit(VAE((1, 16, 16), width=4), seen)


def test_intervals_are_kept_with_a_run(digits, tmp_path, vae):
    model = vae(digits.shape, corruption="gaussian_noise=0.2")
    run = anogen.fit(model, digits, tmp_path / "run", epochs=1, fit_sampler=False)
    kept = Intervals.fit(run.load_model(), digits.validation, 0.8)
    with pytest.raises(DataError, match="differ from those"):  # what calibrates is not there
        anogen.restore(run, digits.test.pixels[:2], interval=0.8)
    digest = hash_of_tensors(run.load_model().state_dict())
    content = {"weights_sha256": digest, "shares": {"0.8": vars(kept)}}
    run.write_json("restoration.json", content)
    found = anogen.restore(run, digits.test.pixels[:2], interval=0.8)
    assert found.low.shape == found.high.shape == (2, *digits.shape)
    assert found.samples is None
    for wrong in ({"share": 0.8}, {**vars(kept), "factor": "much"}, 5):
        run.write_json("restoration.json", content | {"shares": {"0.8": wrong}})
        with pytest.raises(MachineError, match="remove it"):
            anogen.restore(run, digits.test.pixels[:2], interval=0.8)


def test_blur_is_that_of_the_transformation():
    image = anogen.Images(RNG.integers(0, 256, (2, 1, 20, 31), np.uint8), "x")
    ours = gaussian_blur(1.5, torch.zeros(1))(torch.from_numpy(image.pixels[:]).float())
    assert np.abs(ours.numpy() - anogen.corrupt(image, "blur=1.5").pixels).max() < 0.6


def test_samples_of_a_posterior():
    torch.manual_seed(0)
    model = VAE((1, 16, 16), latent=3, width=4, corruption="gaussian_noise=0.2")
    given = RNG.integers(0, 256, (2, 16, 16), np.uint8)
    found = anogen.restore(model, given, samples=5, seed=1)
    assert found.method == "posterior"
    assert found.samples.shape == (5, 2, 16, 16)
    assert not np.array_equal(found.samples[0], found.samples[1])
    again = anogen.restore(model, given[:1], samples=5, seed=1)
    assert np.array_equal(again.samples[:, 0], found.samples[:, :1][:, 0])


@pytest.mark.parametrize(
    ("model", "given", "options", "error", "message"),
    [
        (Restorer, np.zeros((20, 20), np.int32), {}, DataError, "type int32"),
        (Restorer, np.zeros((2, 5, 20, 20), np.uint8), {}, DataError, "shape"),
        (Restorer, np.zeros((20, 20, 4), np.uint8), {}, DataError, "leave opacity out"),
        (Restorer, np.zeros((20, 20)), {"settings": {"tile": 99}}, UsageError, "Restoring"),
        (Restorer, np.zeros((20, 20)), {"tiles": 99}, UsageError, "did you mean 'tile'"),
        (Restorer, np.full((20, 20), np.nan), {}, DataError, "not a finite number"),
        (Restorer, np.zeros((0, 20, 20)), {}, DataError, "shape"),
        (
            Restorer,
            np.zeros((20, 20)),
            {"mask": np.zeros((3, 3))},
            UsageError,
            "not learnt to fill",
        ),
        (Restorer, np.zeros((20, 20)), {"samples": 3}, UsageError, "by the way posterior"),
        (Restorer, np.zeros((20, 20)), {"method": "prior"}, UsageError, "choose net"),
        (Restorer, np.zeros((20, 20)), {"method": "magic"}, UsageError, "unknown method"),
        (Restorer, np.zeros((20, 20)), {"damage": "blur"}, UsageError, "the way prior undoes"),
        (VAE, np.zeros((20, 20)), {}, DataError, "only a Restorer takes"),
        (VAE, np.zeros((16, 16)), {"mask": np.zeros((3, 3))}, DataError, "does not fit"),
        (VAE, np.zeros((16, 16)), {"mask": np.zeros((16, 16), "U1")}, DataError, "a mask is"),
        (VAE, np.zeros((16, 16)), {"damage": "rotation"}, UsageError, "can be undone"),
        (GAN, np.zeros((16, 16)), {"method": "posterior"}, UsageError, "choose prior"),
        (GAN, np.zeros((16, 16)), {"steps": 0}, UsageError, "steps must be"),
        (GAN, np.zeros((16, 16)), {"damage": "blur=1..2"}, UsageError, "one strength"),
        (GAN, np.zeros((16, 16)), {"damage": "blur=1+blur=2"}, UsageError, "one strength"),
        (Restorer, np.zeros((16, 16)), {"level": 0.1}, UsageError, "blind false"),
    ],
)
def test_what_cannot_be_done_is_refused(model, given, options, error, message):
    with pytest.raises(error, match=message) as refusal:
        anogen.restore(model((1, 16, 16), width=4), given, **options)
    assert "\n" not in str(refusal.value)
