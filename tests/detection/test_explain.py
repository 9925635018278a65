"""Explanations add up, and point at what is strange."""

import numpy as np
import pytest

from anogen import SCORES, Detector, Images, corrupt, explain


@pytest.mark.parametrize(
    "score", [name for name, entry in SCORES.items() if entry.map and entry.sums]
)
def test_maps_sum_to_the_score(trained, digits, score):
    detector = Detector.fit(trained.load_model(), digits, score)
    found = explain(detector, digits.test, digits.train)
    assert found.adds_up
    assert found.map.shape == digits.test.pixels.shape
    assert found.map.sum((1, 2, 3)) == pytest.approx(found.scores, rel=1e-5)
    assert np.array_equal(found.scores, detector.score(digits.test))
    assert found.statistics == {}


def test_the_fused_score_is_broken_down(trained, digits):
    model = trained.load_model()
    detector = Detector.fit(model, digits)
    noise = corrupt(digits.test[:5], "uniform_noise")
    found = explain(detector, noise, digits.train, neighbours=2)
    assert not found.adds_up
    assert set(found.statistics) == set(found.values)
    assert {"squared_error", "pixel_entropy"} <= set(found.statistics)
    assert all(np.isfinite(part).all() and part.shape == (5,) for part in found.statistics.values())
    assert found.values["nonzero_pixels"].min() > 2  # noise has more bright pixels than digits
    assert found.rebuilt.shape == noise.pixels.shape


def test_the_nearest_training_images_are_found(trained, digits):
    detector = Detector.fit(trained.load_model(), digits, "squared_error")
    own = digits.train[[7, 3]]
    found = explain(detector, own, digits.train)
    assert found.nearest[:, 0].tolist() == [7, 3]
    assert found.distances[:, 0].tolist() == [0.0, 0.0]
    assert (np.diff(found.distances, axis=1) >= 0).all()
    few = explain(detector, own, digits.train[:2], neighbours=5)
    assert few.nearest.shape == (2, 2)


def test_a_model_that_does_not_reconstruct_has_no_map(digits):
    from anogen import GAN

    detector = Detector.fit(GAN(digits.shape, 3, width=4), digits, "unreal")
    found = explain(detector, Images(digits.test.pixels[:2], "two"), digits.train)
    assert found.map is None
    assert found.rebuilt is None
    assert found.nearest.shape == (2, 3)
