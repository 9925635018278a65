import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, laplace

from anogen.evaluation.measures import MEASURES, Seen
from anogen.evaluation.reconstruction import sharpness
from anogen.models.base import Reconstructs

X = torch.rand(5, 3, 17, 20, generator=torch.Generator().manual_seed(0))
Y = torch.rand(5, 3, 17, 20, generator=torch.Generator().manual_seed(1))


class Rebuilds:
    """Stands for a model that reconstructs every image as another."""

    def __init__(self, rebuilt: torch.Tensor) -> None:
        self.rebuilt = rebuilt

    def reconstruct(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return self.rebuilt


def measured(name: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    function = MEASURES[name].per_image
    assert function is not None
    return function(Seen(Rebuilds(y), x))


OF_RECONSTRUCTIONS = [name for name, entry in MEASURES.items() if entry.needs == (Reconstructs,)]


@pytest.mark.parametrize("name", OF_RECONSTRUCTIONS)
def test_one_finite_value_per_image_even_where_nothing_differs_or_all_is_black(name):
    black = torch.zeros(2, 1, 16, 16)
    for x, y in ((X, Y), (X, X), (black, black), (black, black + 1), (black + 1, black)):
        found = measured(name, x, y)
        assert found.shape == (len(x),)
        assert found.isfinite().all()


@pytest.mark.parametrize("name", [n for n in OF_RECONSTRUCTIONS if MEASURES[n].better])
def test_a_perfect_reconstruction_is_the_best(name):
    perfect, other = measured(name, X, X), measured(name, X, Y)
    assert (perfect > other if MEASURES[name].better == "higher" else perfect < other).all()


def test_values_against_numpy():
    x, y = X.double().numpy().reshape(5, -1), Y.double().numpy().reshape(5, -1)
    squares = ((x - y) ** 2).sum(1)
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    expected = {
        "squared_error": squares,
        "mean_squared_error": squares / x.shape[1],
        "cosine_similarity": cosine,
        "psnr_db": 10 * np.log10(x.shape[1] / squares),
    }
    for name, values in expected.items():
        assert measured(name, X, Y).numpy() == pytest.approx(values, rel=1e-4)


def test_sharpness_is_the_variance_of_the_laplacian():
    inner = laplace(X[0, 0].numpy())[1:-1, 1:-1]
    assert float(sharpness(X[:1, :1])) == pytest.approx(inner.var(ddof=1), rel=1e-4)


@given(st.floats(0.5, 3))
def test_blur_lowers_sharpness(sigma):
    blurred = torch.from_numpy(gaussian_filter(X.numpy(), (0, 0, sigma, sigma)))
    assert (sharpness(blurred) < sharpness(X)).all()


def test_psnr_of_a_perfect_image_is_capped():
    assert measured("psnr_db", X, X).tolist() == [100.0] * 5
    assert math.isfinite(measured("cosine_similarity", X * 0, Y)[0])


def test_sharpness_is_of_each_channel_alone():
    """Channels that are flat, each at its own level, have no edge."""
    flat = torch.tensor([0.1, 0.5, 0.9])[None, :, None, None].expand(2, 3, 8, 8)
    assert sharpness(flat).abs().max() < 1e-10
    colour = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    alone = torch.stack([sharpness(colour[:, c : c + 1]) for c in range(3)]).mean(0)
    assert torch.allclose(sharpness(colour), alone)
    grown = colour * torch.tensor([1.0, 2.0, 3.0])[None, :, None, None]
    factor = sharpness(grown) / sharpness(colour)
    assert (factor > 1).all()
