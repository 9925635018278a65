import numpy as np
import pytest

from anogen import CORRUPTIONS, Images, corrupt
from anogen.errors import UsageError


@pytest.fixture(params=[1, 3])
def images(request) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (6, request.param, 18, 16), np.uint8)
    return Images(pixels, "x", np.arange(6))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_contract(images, name):
    before = images.pixels.copy()
    changed = corrupt(images, name, seed=3)
    assert changed.pixels.shape == images.pixels.shape
    assert changed.pixels.dtype == np.uint8
    assert changed.labels is images.labels
    assert np.array_equal(images.pixels, before)
    assert np.array_equal(changed.pixels, corrupt(images, name, seed=3).pixels)
    stays = name == "grey" and images.shape[0] == 1
    assert np.array_equal(changed.pixels, before) == stays


@pytest.mark.parametrize("name", ["gaussian_noise", "salt_and_pepper", "constant", "uniform_noise"])
def test_noise_depends_on_the_seed(images, name):
    assert not np.array_equal(corrupt(images, name, 0).pixels, corrupt(images, name, 1).pixels)


def test_zoom_grey_and_edges():
    from PIL import Image

    colours = np.random.default_rng(0).integers(0, 256, (3, 3, 20, 20), np.uint8)
    images = Images(colours, "x")
    grey = corrupt(images, "grey").pixels
    for image, found in zip(colours, grey, strict=True):
        expected = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L"), int)
        assert np.abs(found.astype(int) - expected).max() <= 1
    smaller = corrupt(Images(np.full((1, 1, 20, 20), 255, np.uint8), "white"), "zoom=0.5").pixels
    assert (smaller[0, 0, 6:14, 6:14] == 255).all()
    assert smaller[0, 0].sum() / 255 == pytest.approx(100, abs=25)
    assert (smaller[0, 0, 0] == 0).all()
    larger = corrupt(Images(smaller, "square"), "zoom=2").pixels
    assert (larger[0, 0, 3:17, 3:17] == 255).all()
    step = np.zeros((1, 1, 10, 10), np.uint8)
    step[..., 5:] = 128
    edges = corrupt(Images(step, "step"), "edges").pixels[0, 0]
    assert (edges[:, 4:6] == 0).all()
    assert (edges[:, [0, 1, 2, 7, 8, 9]] == 255).all()


def test_what_each_does(images):
    pixels = images.pixels
    assert np.array_equal(corrupt(images, "inversion").pixels, 255 - pixels)
    assert np.array_equal(corrupt(images, "horizontal_flip").pixels, pixels[..., ::-1])
    assert np.array_equal(corrupt(images, "vertical_flip").pixels, pixels[..., ::-1, :])
    assert np.array_equal(corrupt(images, "contrast=1").pixels, pixels)
    assert set(np.unique(corrupt(images, "constant=1").pixels)) == {255}
    assert all(len(np.unique(image)) == 1 for image in corrupt(images, "constant").pixels)
    hit = corrupt(images, "salt_and_pepper=1").pixels
    assert set(np.unique(hit)) == {0, 255}
    assert corrupt(images, "blur=2").pixels.std() < pixels.std() / 2
    noisy = corrupt(Images(np.full((20, 1, 32, 32), 128, np.uint8), "grey"), "gaussian_noise=0.1")
    assert noisy.pixels.std() == pytest.approx(25.5, rel=0.02)


def test_rotation_is_counter_clockwise():
    square = Images(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16), "ramp")
    turned = corrupt(square, "rotation=90").pixels[0, 0]
    assert np.array_equal(turned, np.rot90(square.pixels[0, 0]))


def test_bad_strength():
    images = Images(np.zeros((1, 1, 16, 16), np.uint8), "x")
    with pytest.raises(UsageError, match="'much' is not a number"):
        corrupt(images, "blur=much")
    with pytest.raises(UsageError, match="horizontal_flip has no strength to choose"):
        corrupt(images, "horizontal_flip=3")
    for text in ("constant=2", "rotation=nan", "salt_and_pepper=7"):
        with pytest.raises(UsageError, match="must lie between"):
            corrupt(images, text)
