import numpy as np
import pytest

from anogen import load_data
from anogen.data.shapes import FACTORS, KINDS, draw_shapes
from anogen.errors import UsageError


def centre(pixels):
    """Mean place of the light, as shares of width and height."""
    light = pixels.max(0).astype(float)
    places = (np.arange(light.shape[1]) + 0.5) / light.shape[1]
    return (light.sum(0) @ places) / light.sum(), (light.sum(1) @ places) / light.sum()


def test_factors_are_what_is_drawn():
    images, factors = draw_shapes(400, seed=1, size=48)
    pixels = np.asarray(images.pixels[:])
    x, y = np.array([centre(image) for image in pixels]).T
    named = dict(zip(FACTORS, factors.T, strict=True))
    assert np.corrcoef(x, named["x"])[0, 1] > 0.98
    assert np.corrcoef(y, named["y"])[0, 1] > 0.98
    area = pixels.max(1).sum((1, 2), dtype=float) ** 0.5
    for kind in range(len(KINDS)):
        of_kind = named["shape"] == kind
        assert np.corrcoef(area[of_kind], named["scale"][of_kind])[0, 1] > 0.98
    red = pixels[:, 0].sum((1, 2), dtype=float) / pixels.sum((1, 2, 3), dtype=float)
    assert red[named["hue"] < 0.1].min() > red[named["hue"] > 0.9].max()
    assert np.array_equal(images.labels, named["shape"])
    edges = (pixels[..., 0, :], pixels[..., -1, :], pixels[..., :, 0], pixels[..., :, -1])
    assert max(edge.max() for edge in edges) == 0  # no shape is cut off


def test_rotation_is_the_direction_of_an_ellipse():
    images, factors = draw_shapes(300, seed=2, size=48)
    ellipses = factors[:, 0] == 1
    angles = []
    for image in np.asarray(images.pixels[:])[ellipses]:
        light = image.max(0) / 255
        y, x = np.mgrid[:48, :48] - np.array(centre(image)[::-1])[:, None, None] * 48 + 0.5
        spread = [(light * a * b).sum() for a, b in ((x, x), (x, y), (y, y))]
        angles.append(0.5 * np.arctan2(2 * spread[1], spread[0] - spread[2]) / (np.pi / 2))
    assert np.allclose(angles, factors[ellipses, 2], atol=0.05)


def test_the_seed_decides():
    images, factors = draw_shapes(50, seed=3)
    again, same = draw_shapes(50, seed=3)
    assert images.sha256 == again.sha256
    assert np.array_equal(factors, same)
    other, _ = draw_shapes(50, seed=4)
    assert other.sha256 != images.sha256


def test_they_are_a_data_set_by_name():
    data = load_data("shapes", limit=100)
    assert data.shape == (3, 32, 32)
    assert data.train.classes == KINDS
    assert len(data.train) == 100


@pytest.mark.parametrize(("count", "size"), [(0, 32), (5, 4), (2.5, 32)])
def test_nonsense_is_refused(count, size):
    with pytest.raises(UsageError, match="count"):
        draw_shapes(count, size=size)
