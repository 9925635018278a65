import numpy as np
import pytest

from anogen.errors import DataError
from anogen.evaluation.disentanglement import (
    _entropy,
    _mutual_information,
    _purity,
    disentanglement,
)

RNG = np.random.default_rng(0)
FACTORS = np.column_stack([RNG.integers(0, 3, 3000), RNG.random((3000, 3))]).astype(float)
SCORES = ("mutual_information_gap", "sap", "dci_disentanglement", "dci_completeness",
          "dci_informativeness")  # fmt: skip


def scores(codes):
    found = disentanglement(codes, FACTORS, categorical=(0,))
    assert tuple(found) == SCORES
    assert all(0 <= value <= 1 for value in found.values())
    return found


def test_one_latent_for_each_factor_is_perfect():
    codes = np.column_stack([FACTORS[:, [2, 0, 3, 1]] * [3, -1, 0.5, 7], RNG.random((3000, 2))])
    assert all(value > 0.9 for value in scores(codes).values())


def test_a_rotation_of_the_factors_is_entangled_but_informative():
    spread = FACTORS / FACTORS.std(0)
    turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    straight, mixed = scores(spread), scores(spread @ turned)
    for name in SCORES[:4]:
        assert mixed[name] < 0.5 * straight[name]
    assert mixed["dci_informativeness"] > 0.6


def test_a_factor_in_two_latents_is_not_complete():
    twice = np.column_stack([FACTORS, FACTORS[:, 1] + 1e-3 * RNG.random(3000)])
    found = scores(twice)
    assert found["dci_disentanglement"] > 0.9
    assert found["mutual_information_gap"] < 0.8
    assert found["sap"] < 0.8


def test_noise_scores_next_to_nothing():
    found = scores(RNG.random((3000, 5)))
    assert found["mutual_information_gap"] < 0.02
    assert found["dci_informativeness"] < 0.05
    constant = disentanglement(np.zeros((3000, 3)), FACTORS, categorical=(0,))
    assert set(constant.values()) == {0.0}


def test_mutual_information_and_entropy_in_closed_form():
    a = np.array([0, 0, 1, 1] * 50)
    b = np.array([0, 1, 0, 1] * 50)
    assert _entropy(a) == pytest.approx(np.log(2))
    assert _mutual_information(a, b) == pytest.approx(0)
    assert _mutual_information(a, a) == pytest.approx(np.log(2))
    noisy = np.array([0, 0, 0, 1, 1, 1, 1, 0] * 25)
    same = np.array([0, 0, 0, 0, 1, 1, 1, 1] * 25)
    expected = np.log(2) + 0.75 * np.log(0.75) + 0.25 * np.log(0.25)
    assert _mutual_information(same, noisy) == pytest.approx(expected)
    assert _purity(np.array([[1.0, 0, 0], [1, 1, 1], [1, 1, 0]])) == pytest.approx(
        [1, 0, 1 - np.log(2) / np.log(3)]
    )


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (np.zeros((200, 3)), np.zeros((100, 2)), "are needed, found"),
        (np.zeros((99, 3)), np.zeros((99, 2)), "too few"),
        (np.zeros((200, 1)), np.zeros((200, 2)), "too few"),
        (np.full((200, 3), np.nan), np.zeros((200, 2)), "not finite"),
    ],
)
def test_what_cannot_be_scored_is_refused(codes, factors, message):
    with pytest.raises(DataError, match=message):
        disentanglement(codes, factors)


@pytest.mark.parametrize(
    ("column", "categorical", "message"),
    [
        (np.zeros(3000), (), "the same everywhere"),
        (np.arange(3000.0) - 1, (1,), "whole numbers from 0 on"),
        (RNG.random(3000), (1,), "whole numbers from 0 on"),
        (RNG.random(3000), (7,), "categorical 7: there are 2 factors"),
    ],
)
def test_factors_that_make_no_sense_are_refused(column, categorical, message):
    factors = np.column_stack([FACTORS[:, 1], column])
    with pytest.raises(DataError, match=message):
        disentanglement(FACTORS, factors, categorical)
