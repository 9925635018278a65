from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anogen.training.schedule import learning_rate_factor


@given(
    total=st.integers(1, 1000),
    warmup=st.integers(0, 50),
    kind=st.sampled_from(["constant", "cosine"]),
)
def test_it_rises_then_never_rises_again(total, warmup, kind):
    warmup = min(warmup, total)
    factors = [learning_rate_factor(step, total, kind, warmup) for step in range(total + 1)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(a < b for a, b in pairwise(factors[:warmup]))
    assert all(a >= b for a, b in pairwise(factors[warmup:]))
    if kind == "cosine" and warmup < total:
        assert factors[-1] == pytest.approx(0, abs=1e-12)


def test_constant_without_warmup_is_one():
    assert {learning_rate_factor(step, 10) for step in range(10)} == {1.0}
