"""Scores of tables: what they compute, what they promise, and why a row has its score."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from anogen import SCORES, VAE, Detector, OutlierDetector, PyODDetector, Splits
from anogen.data.scaling import Scaling
from anogen.detection.scores.surprises import OUT_OF_FOLD, folds_of, out_of_fold, surprises
from anogen.errors import DataError, UsageError

MEMBERS = ("local_density", "local_density_of_ranks", "row_mixture", "row_mixture_of_ranks")


def correlated(count, seed=0):
    """Rows on a noisy line, where only the combination of columns can be odd."""
    random = np.random.default_rng(seed)
    first = random.normal(size=count)
    return np.c_[first, 2 * first + 0.1 * random.normal(size=count), random.normal(size=count)]


def detector_of(rows, score):
    return OutlierDetector(score_name=score).fit(rows)


@pytest.fixture(scope="module")
def fused():
    return OutlierDetector(false_positive_rate=0.05).fit(correlated(500))


def test_the_fused_score_of_tables_has_these_members():
    table = VAE((1, 1, 3), 2, width=4)
    assert tuple(name for name, score in SCORES.items() if score.fused == "tables") == MEMBERS
    assert all(SCORES[name].fits(table) for name in (*MEMBERS, "robust"))


def test_local_density_is_a_distance_over_the_root_of_its_neighbours_own():
    rows, new = correlated(200), correlated(30, seed=1)
    scores = -detector_of_all(rows, "local_density").score_samples(new)
    z = (rows - rows.mean(0)) / rows.std(0)
    search = NearestNeighbors(n_neighbors=5).fit(z)
    reach = search.kneighbors()[0][:, -1]
    distances, places = search.kneighbors((new - rows.mean(0)) / rows.std(0))
    expected = np.log(distances.mean(1)) - 0.5 * np.log(reach[places]).mean(1)
    assert scores == pytest.approx(expected, abs=1e-4)


def detector_of_all(rows, score):
    """One that learns from all rows, none held out."""
    detector = OutlierDetector(score_name=score).fit(rows)
    scaling = Scaling(detector.centre_, detector.spread_)
    images = scaling.images(rows)
    detector.detector_ = Detector.fit(detector.model_, Splits(images, images, images), score)
    return detector


def test_the_mixture_is_scikit_learn_s():
    rows, new = correlated(300), correlated(40, seed=1)
    scores = -detector_of_all(rows, "row_mixture").score_samples(new)
    mean, scale = rows.mean(0), rows.std(0)
    theirs = GaussianMixture(10, reg_covar=1e-2, random_state=0, max_iter=300)
    expected = -theirs.fit((rows - mean) / scale).score_samples((new - mean) / scale)
    assert scores == pytest.approx(expected, abs=0.02)


def test_ranks_do_not_change_with_a_monotone_change_of_a_column():
    rows, new = correlated(300), correlated(40, seed=1)
    bent, also = rows.copy(), new.copy()
    bent[:, 0], also[:, 0] = np.exp(rows[:, 0]), np.exp(new[:, 0])
    inside = ((new >= rows.min(0)) & (new <= rows.max(0))).all(1)
    for score in ("local_density_of_ranks", "row_mixture_of_ranks"):
        plain = detector_of_all(rows, score).score_samples(new[inside])
        assert detector_of_all(bent, score).score_samples(also[inside]) == pytest.approx(
            plain, abs=1e-3
        )


@pytest.mark.parametrize("score", ["fused", "local_density", "row_mixture"])
def test_an_odd_combination_of_usual_values_is_found(score):
    rows = correlated(500)
    odd = np.array([[1.0, -2.0, 0.0], [-1.5, 3.0, 0.5]])
    detector = detector_of(rows, score)
    assert detector.score_samples(odd).max() < np.quantile(detector.score_samples(rows), 0.02)


def test_surprises_are_those_of_the_ranks_and_go_on_beyond():
    usual = torch.arange(1000.0).double()[None]
    values = torch.tensor([[-5.0], [499.5], [989.5], [999.0], [1500.0], [9000.0]]).double()
    found = surprises(values, usual)[:, 0]
    assert found[1].item() == pytest.approx(np.log(2), abs=2e-3)
    assert found[2].item() == pytest.approx(np.log(1001 / 10.5), abs=1e-6)
    assert (found.diff() > 0).all()


def test_each_row_is_scored_by_what_was_learnt_from_others(monkeypatch):
    rows = correlated(100)
    detector = OutlierDetector().fit(rows)
    state = detector.detector_.state
    own = state[OUT_OF_FOLD]
    assert own.shape == (100, len(MEMBERS))
    folds = np.random.default_rng(0).permutation(100) % folds_of(100)
    scaling = Scaling(detector.centre_, detector.spread_)
    held_out = folds == 2
    for place, name in enumerate(MEMBERS):
        part = scaling.images(rows[~held_out])
        apart = Detector.fit(detector.model_, Splits(part, part, part), name)
        assert apart.score(scaling.images(rows[held_out])) == pytest.approx(
            own[held_out, place].numpy(), abs=1e-7
        )
    scores = np.sort(out_of_fold(state).numpy())
    assert np.array_equal(detector.detector_.calibration.scores, scores)


def test_the_promised_rate_is_kept_without_rows_held_out():
    rates = []
    for seed in range(6):
        detector = OutlierDetector(false_positive_rate=0.1).fit(correlated(400, seed))
        rates.append((detector.predict(correlated(2000, 100 + seed)) < 0).mean())
    assert 0.05 < np.mean(rates) < 0.13


def test_the_rate_is_kept_where_rows_are_repeated():
    rates = []
    for seed in range(5):
        random = np.random.default_rng(seed)
        few = correlated(150, seed)
        detector = OutlierDetector(false_positive_rate=0.1).fit(few[random.integers(0, 150, 300)])
        rates.append((detector.predict(correlated(1000, 100 + seed)) < 0).mean())
    assert np.mean(rates) < 0.16


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_robust_is_not_led_astray_by_outliers_among_the_training_rows(share):
    random = np.random.default_rng(0)
    rows = random.normal(size=(600, 8))
    truth = np.arange(600) < 600 * share
    rows[truth] = random.normal(size=(truth.sum(), 8)) * 0.3 + 6  # one far, dense cluster
    detector = PyODDetector(contamination=share).fit(rows)
    assert roc_auc_score(truth, detector.decision_scores_) > 0.95
    assert roc_auc_score(truth, detector.decision_function(rows)) > 0.95
    led_astray = PyODDetector(contamination=share, score_name="row_neighbours").fit(rows)
    assert roc_auc_score(truth, led_astray.decision_scores_) < 0.5


def test_few_rows_are_enough():
    for count in (2, 3, 4, 7, 12):
        rows = np.random.default_rng(0).normal(size=(count, 3))
        for detector in (OutlierDetector(false_positive_rate=0.5), PyODDetector(contamination=0.5)):
            assert np.isfinite(detector.fit(rows)._surprise(rows + 1)).all()


def test_the_same_row_has_the_same_score_in_any_company(fused):
    new = np.round(correlated(300, seed=3), 1)  # with ties
    alone = np.concatenate([fused.score_samples(row[None]) for row in new[:20]])
    assert np.array_equal(alone, fused.score_samples(new)[:20])
    assert np.array_equal(alone, fused.score_samples(new[:20][::-1])[::-1])


def test_a_constant_column_that_changes_is_far_out():
    rows = np.c_[correlated(300), np.full(300, 7.0)]
    detector = OutlierDetector(false_positive_rate=0.05).fit(rows)
    new = rows[:5].copy()
    new[:, 3] = 8.0
    assert (detector.predict(new) == -1).all()
    assert {row[0].column for row in detector.explain(new)} == {"x3"}


def test_removing_the_first_reason_lowers_the_score_most(fused):
    random = np.random.default_rng(5)
    rows = correlated(40, seed=6)
    changed = random.integers(0, 3, 40)
    rows[np.arange(40), changed] += random.choice([-6, 6], 40)
    told = fused.explain(rows, most=3)
    before = -fused.score_samples(rows)
    for place, reasons in enumerate(told):
        shares = [reason.share for reason in reasons]
        assert shares == sorted(shares, reverse=True)
        assert 0 < shares[0] <= before[place] + 1e-9
    third = [reasons[0].column == "x2" for reasons, column in zip(told, changed, strict=True)
             if column == 2]  # fmt: skip
    assert np.mean(third) > 0.9  # of the two that depend on each other, either explains it


def test_reasons_are_in_the_columns_own_terms():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({
        "amount": random.lognormal(3, 1, 500), "country": random.choice(["FR", "DE"], 500),
        "gap": np.where(random.random(500) < 0.1, np.nan, random.normal(size=500)),
    })  # fmt: skip
    detector = OutlierDetector(false_positive_rate=0.05).fit(frame)
    new = frame.head(2).copy()
    new.loc[0, "amount"], new.loc[1, "country"] = 1e6, "XX"
    first, second = detector.explain(new)
    assert first[0].column == "amount"
    assert first[0].text.startswith("amount ")
    assert float(first[0].value) == pytest.approx(1e6, rel=1e-2)
    assert "(training rows have at most" in first[0].text
    assert second[0].text.startswith("country XX (in no training row); ")
    assert detector.predict(new).tolist() == [-1, -1]


def test_frames_and_gaps_are_taken_and_mistakes_named():
    frame = pd.DataFrame({"amount": np.r_[np.arange(98.0), np.nan, 5], "kind": ["a", "b"] * 50})
    detector = OutlierDetector().fit(frame)
    assert detector.feature_names_in_.tolist() == ["amount", "kind"]
    assert detector.n_features_in_ == 2
    assert np.isfinite(detector.score_samples(frame)).all()
    with pytest.raises(DataError, match="row 2, column amount: inf is no finite number"):
        detector.predict(frame.assign(amount=np.r_[1.0, np.inf, np.ones(98)]))
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame.rename(columns={"kind": "sort"}))
    rows = np.random.default_rng(0).normal(size=(60, 3))
    rows[::7, 1] = np.nan
    assert OutlierDetector().fit(rows).predict(rows).shape == (60,)
    pictures = np.random.default_rng(0).integers(0, 255, (60, 8, 8), np.uint8)
    fitted = OutlierDetector(epochs=1, score_name="squared_error", options={"width": 4})
    fitted.fit(pictures)
    with pytest.raises(UsageError, match="explain is for tables"):
        fitted.explain(pictures)


def test_refresh_learns_new_rows_without_training(fused):
    rows, moved = correlated(300), correlated(300, seed=1) + np.array([4, 8, 0])
    detector = OutlierDetector(false_positive_rate=0.05).fit(rows)
    model = detector.model_
    assert (detector.predict(moved) < 0).mean() > 0.9
    detector.refresh(moved[:200])
    assert detector.model_ is model
    assert (detector.predict(moved[200:]) < 0).mean() < 0.2
    assert len(detector.detector_.calibration.scores) == 500
    with pytest.raises(UsageError, match="which no net is trained for"):
        OutlierDetector(score_name="row_neighbours").fit(rows).refresh(moved)
