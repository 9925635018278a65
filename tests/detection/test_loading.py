"""A run in one line, and images from whatever holds them."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import anogen as api
from anogen import Detector, Images
from anogen.errors import DataError, UsageError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run of named data, which can be loaded again."""
    data, path = api.load_data("digits", limit=600), tmp_path_factory.mktemp("loading") / "run"
    torch.manual_seed(0)
    api.fit(api.VAE(data.shape, latent=2, width=4), data, path, epochs=1)
    return path


@pytest.fixture
def run(original, tmp_path):
    shutil.copytree(original, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def digits():
    return api.load_data("digits", limit=600)


def test_one_line_gives_model_and_detectors(run, digits):
    trained = api.load(run)
    assert trained.detector is trained.detectors["fused"]
    assert "likelihood_ratio" not in trained.detectors  # compares with another model
    other = trained.detectors["squared_error"]
    again = Detector.fit(trained.model, digits, "squared_error")
    assert np.array_equal(other.score(digits.test), again.score(digits.test))
    with pytest.raises(UsageError, match="did you mean 'squared_error'"):
        trained.detectors["square_error"]
    with pytest.raises(UsageError, match="there is no run"):
        api.load(run.parent / "nothing")


def test_scores_that_learn_nothing_need_the_data_no_more(run, digits, monkeypatch):
    expected = api.load(run).detectors["fused"].score(digits.test)  # calibrates, and keeps others
    monkeypatch.setattr(api.Run, "load_data", lambda *_: pytest.fail("the data was read"))
    trained = api.load(run)
    assert np.array_equal(trained.detector.score(digits.test), expected)
    for score in ("squared_error", "negative_elbo", "cosine_distance", "pixel_entropy"):
        assert trained.detectors[score].p_value(digits.test).min() > 0


def test_the_same_images_have_the_same_scores_whatever_holds_them(run, digits, tmp_path):
    detector = api.load(run).detectors["squared_error"]
    images = digits.test[:6]
    pixels = images.pixels[:]
    expected = detector.score(images)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image[0]).save(folder / f"{index}.png")
    np.save(tmp_path / "a.npy", pixels[:, 0])
    ways = [
        pixels, pixels[:, 0], torch.from_numpy(pixels), pixels / 255.0, folder, str(folder),
        tmp_path / "a.npy", sorted(folder.iterdir()), [folder / "0.png", tmp_path / "a.npy"],
    ]  # fmt: skip
    for way in ways[:-1]:
        assert np.array_equal(detector.score(way), expected)
    assert np.array_equal(detector.score(ways[-1]), [expected[0], *expected])
    assert np.array_equal(detector.p_value(folder), detector.p_value(images))
    assert np.array_equal(detector.predict(folder, 0.1), detector.predict(images, 0.1))


def test_pictures_are_read_as_those_of_the_training(run, digits, tmp_path):
    Image.fromarray(digits.test.pixels[0, 0]).resize((56, 56)).save(tmp_path / "large.png")
    with pytest.raises(DataError, match=r"large.png: \[1, 56, 56\].*image_size 28"):
        api.load(run).detectors["squared_error"].score(tmp_path / "large.png")
    resizing = api.load(run, image_size=28).detectors["squared_error"]
    assert resizing.score(tmp_path / "large.png").shape == (1,)


def test_tensors_without_plain_values_are_refused(run):
    detector = api.load(run).detectors["squared_error"]
    for tensor in (torch.rand(2, 1, 28, 28).to_sparse(), torch.empty(2, 1, 28, 28, device="meta")):
        with pytest.raises(UsageError, match="no tensor of plain values"):
            detector.score(tensor)
    half = torch.rand(2, 1, 28, 28).bfloat16()
    assert detector.score(half).shape == (2,)


@pytest.mark.parametrize("given", [None, 5, [], {"a": 1}, ["a.png", 5]])
def test_what_holds_no_image_is_refused(run, given):
    with pytest.raises(UsageError, match=r"Detector\.score takes anogen\.Images"):
        api.load(run).detectors["squared_error"].score(given)


def test_a_map_sums_to_the_score(run, digits):
    detectors = api.load(run).detectors
    images = digits.test[:5]
    found = detectors["squared_error"].map(images)
    assert found.shape == (5, 28, 28)
    assert np.allclose(found.sum((1, 2)), detectors["squared_error"].score(images))
    with pytest.raises(UsageError, match="choose squared_error, absolute_error"):
        detectors["fused"].map(images)


def test_a_colour_map_has_one_value_for_each_pixel():
    shape = (3, 16, 16)
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (60, *shape), np.uint8), "noise")
    model = api.VAE(shape, latent=2, width=4)
    detector = Detector.fit(model, api.split(images), "absolute_error")
    assert np.allclose(detector.map(images[:4]).sum((1, 2)), detector.score(images[:4]))


def test_a_run_of_arrays_in_memory_is_given_them_again(digits, tmp_path):
    arrays = api.split(api.images_from_array(digits.train.pixels[:, 0], "arrays"))
    torch.manual_seed(0)
    run = api.fit(api.VAE(arrays.shape, latent=2, width=4), arrays, tmp_path / "run", epochs=1)
    with pytest.raises(DataError, match=r"anogen\.load\(run, data=data\)"):
        api.load(run.path).detector.score(arrays.test)
    with pytest.raises(DataError, match="differ from those of the run"):
        api.load(run.path, data=digits).detector.score(arrays.test)
    assert api.load(run.path, data=arrays).detector.score(arrays.test).shape == (len(arrays.test),)
