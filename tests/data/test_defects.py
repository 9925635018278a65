"""Defects are seen where the mask says, and nowhere else."""

import numpy as np
import pytest

from anogen.data.defects import DEFECTS, add_defect


@pytest.mark.parametrize("kind", DEFECTS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 48), (1, 8, 8)])
def test_every_kind_changes_what_its_mask_covers(kind, shape):
    generator = np.random.default_rng(0)
    seen = 0
    for _ in range(10):
        good, other = generator.random((2, *shape)).astype(np.float32)
        bad, mask = add_defect(good, other, generator, kind)
        assert bad.shape == shape
        assert bad.dtype == np.float32
        assert mask.shape == shape[1:]
        assert 0 <= bad.min() <= bad.max() <= 1
        changed = np.abs(bad - good).max(0)
        assert changed[mask].mean() > 0.02 if mask.any() else True
        assert changed[~mask].mean() < 0.05
        seen += mask.any()
    assert seen >= 8


def test_the_same_generator_draws_the_same():
    good = np.random.default_rng(1).random((2, 1, 32, 32)).astype(np.float32)
    one, two = (add_defect(*good, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    other = add_defect(*good, np.random.default_rng(6))
    assert not np.array_equal(one[0], other[0])


def test_defects_vary_in_size_and_in_lightness():
    good = np.full((1, 64, 64), 0.5, np.float32)
    generator = np.random.default_rng(0)
    drawn = [add_defect(good, good, generator, "blob") for _ in range(60)]
    sizes = np.array([mask.sum() for _, mask in drawn])
    assert sizes.max() > 20 * sizes[sizes > 0].min()
    signs = [np.sign((bad - good)[0][mask].mean()) for bad, mask in drawn if mask.any()]
    assert 0.15 < np.mean(np.array(signs) > 0) < 0.6
