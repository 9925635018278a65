"""The two faces: scikit-learn's own checks, what PyOD asserts of its VAE, and their agreement."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from anogen import Images, OutlierDetector, PyODDetector
from anogen.data.images import images_from_table
from anogen.errors import Interrupted, UsageError

SMALL = {"latent": 2, "width": 4}


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_accepts_the_estimator():
    results = check_estimator(OutlierDetector(epochs=1, options=SMALL), on_fail=None)
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert failed == []
    assert len(results) > 40


def blobs(rows: int, features: int = 20, share: float = 0.1, seed: int = 0):
    """What `pyod.utils.data.generate_data` makes: a Gaussian cluster, and uniform outliers."""
    rng = np.random.RandomState(seed)
    offset = rng.randint(1, 10)
    out = int(rows * share)
    inside = rng.randn(rows - out, features) + offset
    outside = rng.uniform(-2 * offset, 2 * offset, (out, features))
    order = rng.permutation(rows)
    return np.vstack([inside, outside])[order], np.repeat([0, 1], [rows - out, out])[order]


@pytest.fixture(scope="module")
def fitted():
    rows, truth = blobs(6000, 300)
    return PyODDetector(epochs=3, contamination=0.1).fit(rows), rows, truth


def test_what_pyod_asserts_of_its_vae(fitted):
    detector, rows, _ = fitted
    new, truth = blobs(1000, 300)
    for name in ("decision_scores_", "labels_", "threshold_", "_mu", "_sigma"):
        assert getattr(detector, name) is not None
    assert len(detector.decision_scores_) == len(rows)
    assert roc_auc_score(truth, detector.decision_function(new)) >= 0.8
    assert detector.predict(new).shape == truth.shape
    assert set(detector.predict(new).tolist()) == {0, 1}
    for method in ("linear", "unify"):
        found = detector.predict_proba(new, method=method)
        assert found.shape == (1000, 2)
        assert found.min() >= 0
        assert found.max() <= 1
        assert found.sum(1) == pytest.approx(1)
    with pytest.raises(ValueError, match="linear or unify"):
        detector.predict_proba(new, method="something")
    labels, confidence = detector.predict(new, return_confidence=True)
    assert np.array_equal(labels, detector.predict(new))
    assert 0 <= confidence.min() <= confidence.max() <= 1
    assert detector.predict_proba(new, return_confidence=True)[1].shape == (1000,)
    again = pickle.loads(pickle.dumps(detector))
    assert np.array_equal(again.decision_function(new), detector.decision_function(new))
    assert clone(detector).contamination == 0.1


def test_pyod_s_shortcuts():
    rows, truth = blobs(300)
    detector = PyODDetector(epochs=2, options=SMALL)
    assert detector.fit_predict(rows).shape == truth.shape
    for scoring in ("roc_auc_score", "prc_n_score", "average_precision_score"):
        assert 0 <= detector.fit_predict_score(rows, truth, scoring) <= 1
    with pytest.raises(NotImplementedError):
        detector.fit_predict_score(rows, truth, "something")


@pytest.fixture(scope="module")
def faces():
    rows, _ = blobs(200, 4)
    common = {"epochs": 2, "options": SMALL, "score_name": "squared_error"}
    return (
        OutlierDetector(false_positive_rate=0.2, **common).fit(rows),
        PyODDetector(contamination=0.2, **common).fit(rows),
        rows,
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 199), min_size=1, max_size=30), st.floats(-3, 3))
def test_all_three_faces_agree_ties_included(faces, chosen, shift):
    first, second, rows = faces
    batch = np.concatenate([rows[chosen], rows[chosen] + shift, rows[:1]])
    scaled = np.tanh((batch - first.centre_) / (3 * first.spread_))
    images = images_from_table(0.5 + 0.5 * scaled)
    plain = first.detector_.predict(images, 0.2)
    assert np.array_equal(first.predict(batch), 1 - 2 * plain)
    assert np.array_equal(second.predict(batch), plain)
    assert np.array_equal(second.decision_function(batch), -first.score_samples(batch))
    known = Images(images.pixels, "again")
    assert np.array_equal(first.detector_.p_value(known) <= 0.2 + 1e-12, plain == 1)


def test_the_threshold_itself_is_in(faces):
    first, second, _ = faces
    assert -first.offset_ == second.threshold_
    assert second.threshold_ in second.detector_.calibration.scores


def test_it_works_in_pipelines_and_searches():
    rows, truth = blobs(200)
    line = make_pipeline(StandardScaler(), OutlierDetector(epochs=1, options=SMALL))
    assert set(line.fit(rows).predict(rows).tolist()) <= {-1, 1}

    def quality(estimator, x, y):
        return roc_auc_score(y, -estimator.score_samples(x))

    grid = {"score_name": ["squared_error", "kl"]}
    search = GridSearchCV(
        OutlierDetector(epochs=1, options=SMALL), grid, scoring=quality, cv=2, error_score="raise"
    )
    search.fit(rows, truth)
    assert search.best_params_["score_name"] in grid["score_name"]


def test_images_are_taken_as_they_are(digits):
    detector = OutlierDetector(epochs=1, options=SMALL).fit(digits.train.pixels)
    assert detector.predict(digits.test.pixels).shape == (len(digits.test),)
    with pytest.raises(UsageError, match="fitted on images, now given a table"):
        detector.predict(np.zeros((3, 4)))
    bright = np.full((3, *digits.shape[1:]), 255, np.uint8)
    assert detector.predict(bright).tolist() == [-1, -1, -1]


def test_the_same_seed_gives_the_same_bits():
    rows, _ = blobs(100)
    first, second = (OutlierDetector(epochs=1, options=SMALL).fit(rows) for _ in range(2))
    assert np.array_equal(first.score_samples(rows), second.score_samples(rows))


def test_nonsense_is_refused():
    rows, _ = blobs(100)
    for wrong in ({"false_positive_rate": 0.7}, {"held_out": 1.0}):
        with pytest.raises(UsageError, match="must lie in"):
            OutlierDetector(**wrong).fit(rows)
    with pytest.raises(UsageError, match="100 calibration examples cannot support"):
        OutlierDetector(false_positive_rate=0.001).fit(rows)
    with pytest.raises(UsageError, match="did you mean 'VAE'"):
        OutlierDetector("VEA").fit(rows)
    with pytest.raises(UsageError, match="cannot give"):
        OutlierDetector("GAN", score_name="kl", epochs=1).fit(rows)


def test_a_density_of_everything_suits_a_table_without_outliers():
    rows, truth = blobs(600)
    clean = rows[truth == 0]
    detector = OutlierDetector(epochs=2, options=SMALL, score_name="fused").fit(clean[:400])
    mixed = np.concatenate([clean[400:], rows[truth == 1]])
    out = np.repeat([0, 1], [len(clean) - 400, int(truth.sum())])
    assert roc_auc_score(out, -detector.score_samples(mixed)) > 0.95


def test_one_huge_value_hides_no_other_outlier():
    rows = np.random.default_rng(0).normal(size=(500, 4))
    rows[0, 0] = 1e6
    detector = OutlierDetector(epochs=10).fit(rows)
    assert detector.predict(np.full((1, 4), 30.0)).tolist() == [-1]


@pytest.mark.parametrize(("number", "expected"), [(2, KeyboardInterrupt), (15, SystemExit)])
def test_a_signal_ends_a_search_too(monkeypatch, number, expected):
    def stopped(*_args, **_options):
        raise Interrupted("stopped", number)

    monkeypatch.setattr("anogen.detection.estimators.fit", stopped)
    rows = np.random.default_rng(0).normal(size=(200, 4))
    search = GridSearchCV(OutlierDetector(), {"epochs": [1]}, scoring=lambda *_: 0.0, cv=2)
    with pytest.raises(expected):
        search.fit(rows)
