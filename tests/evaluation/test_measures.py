import numpy as np
import pytest
import torch

from anogen import VAE, evaluate, evaluate_generation, split
from anogen.evaluation.measures import MEASURES, Described, compared, per_image
from anogen.report.page import result_rows


def described(seed: int, shift: float = 0.0) -> Described:
    rng = np.random.default_rng(seed)
    return Described(rng.normal(size=(200, 6)) + shift, rng.integers(0, 4, 200), 4)


@pytest.mark.parametrize("name", [name for name, entry in MEASURES.items() if entry.of_samples])
def test_more_real_images_beat_noise_by_every_measure_of_samples(name):
    measure = MEASURES[name]
    assert measure.of_samples is not None
    real, same = described(0), described(1)
    far = Described(described(2, 50.0).features, np.zeros(200, np.int64), 4)
    good, bad = measure.of_samples(real, same), measure.of_samples(real, far)
    assert measure.better in ("higher", "lower")
    assert good > bad if measure.better == "higher" else good < bad


def test_every_measure_is_made_by_one_of_the_ways(digits):
    """Nothing stands in the table that no command gives, and a page shows all of it."""
    small = split(digits.train[:400])
    torch.manual_seed(0)
    model = VAE(digits.shape, latent=2, width=4)
    result = evaluate(model, small.test, importance_samples=2, likelihood_images=5)
    result |= evaluate_generation(model, small, samples=40)
    of_texts, of_training = {"r_precision", "variety"}, {"images_per_s"}
    assert set(MEASURES) - set(result) == of_texts | of_training
    assert [row.key for row in result_rows(result)] == [m for m in MEASURES if m in result]
    assert set(per_image(model)) <= set(result)
    assert "psnr_db" not in compared()
