"""The two wrappers: scikit-learn's own checks, PyOD's own data, and their agreement."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyod.utils.data import generate_data
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from anogen import VAE, Images, OutlierDetector, PyODDetector
from anogen.data.images import images_from_table
from anogen.errors import DataError, Interrupted, TrainingError, UsageError

SMALL = {"latent": 2, "width": 4}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("score", [None, "squared_error"])
def test_scikit_learn_accepts_the_estimator(score):
    detector = OutlierDetector(epochs=1, options=SMALL, score_name=score)
    results = check_estimator(detector, on_fail=None)
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert failed == []
    assert len(results) > 40


def blobs(rows: int, features: int = 20, share: float = 0.1, seed: int = 0):
    """A Gaussian cluster and uniform outliers, PyOD's own: rows, and 1 for an outlier."""
    found, _, truth, _ = generate_data(
        n_train=rows, n_test=10, n_features=features, contamination=share, random_state=seed
    )
    order = np.random.RandomState(seed).permutation(rows)
    return found[order], truth[order].astype(int)


def test_pyod_s_shortcuts():
    rows, truth = blobs(300)
    detector = PyODDetector(epochs=2, options=SMALL)
    assert detector.fit_predict(rows).shape == truth.shape
    for scoring in ("roc_auc_score", "prc_n_score", "average_precision_score"):
        assert 0.8 < detector.fit_predict_score(rows, truth, scoring) <= 1
    with pytest.raises(NotImplementedError):
        detector.fit_predict_score(rows, truth, "something")
    for wrong in (np.zeros(300), np.ones(300), np.arange(300)):
        with pytest.raises(UsageError, match="both of them"):
            detector.fit_predict_score(rows, wrong)


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
    third = (batch - first.centre_) / (3 * first.spread_)
    images = images_from_table(0.5 + 0.5 * third / (1 + np.abs(third)))
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
    for model in ("GAN", "VAEGAN", "NCPVAE"):
        with pytest.raises(UsageError, match=rf"{model} has no default score on a table"):
            OutlierDetector(model).fit(rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"epochs": 2.5}, "epochs must be a whole number, found 2.5"),
     ({"epochs": "3"}, "epochs must be a whole number, found '3'"),
     ({"epochs": True}, "epochs must be a whole number"),
     ({"epochs": 0}, "epochs must be positive"),
     ({"batch_size": 32.5}, "batch_size must be a whole number"),
     ({"false_positive_rate": "auto"}, "must be a finite number, found 'auto'"),
     ({"held_out": None}, "held_out must be a finite number"),
     ({"options": [3]}, "options must be a dict"),
     ({"options": {"latent": 2.5}}, "latent must be a whole number"),
     ({"options": {"beta": float("nan")}}, "beta must be a finite number"),
     ({"score_name": "squared"}, "did you mean"),
     ({"learning_rate": "x", "score_name": "squared_error"}, "learning_rate must be"),
     ({"score_name": []}, "unknown score"), ({"device": None}, "device None"),
     ({"options": {"depth": 10**20}}, "depth must be at most"),
     ({"model": "os.system"}, "not one of anogen's")],
    ids=str,
)  # fmt: skip
def test_arguments_of_the_wrong_kind_are_refused_in_one_line(options, message):
    with pytest.raises(UsageError, match=message) as refusal:
        OutlierDetector(**options).fit(blobs(100)[0])
    assert "\n" not in str(refusal.value)
    with pytest.raises(UsageError, match="must be a finite number, found 'auto'"):
        PyODDetector(contamination="auto").fit(blobs(100)[0])


def test_data_of_the_wrong_kind_is_refused_in_one_line(digits):
    detector = OutlierDetector(epochs=1, options=SMALL).fit(digits.train.pixels)
    image = digits.test.pixels[0, 0]
    for wrong, message in (
        ([image, image], "numpy.stack"),
        (image, r"a single image is image\[None\]"),
        (digits.test, "an estimator takes arrays"),
    ):
        with pytest.raises(UsageError, match=message):
            detector.predict(wrong)
    with pytest.raises(UsageError, match=r"numpy\.stack"):
        OutlierDetector().fit([image, image])
    with pytest.raises(UsageError, match="an estimator takes arrays"):
        OutlierDetector().fit(digits)


@pytest.mark.parametrize("constant", [7.0, 0.1, 3.3, 1234.5678, -2e-5, 0.0, 1e8, -3e12])
def test_a_constant_column_has_one_scale_however_it_is_stored(constant):
    rows = np.random.default_rng(0).normal(size=(200, 5))
    train = np.c_[rows, np.full(200, constant)]
    detector = OutlierDetector(epochs=2).fit(train)
    assert detector.spread_[5] == max(1.0, 1e-6 * abs(constant))
    moved = np.c_[rows, np.full(200, constant * (1 + 1e-9))]
    noisy = np.c_[rows, constant * (1 + 1e-15 * np.random.default_rng(1).normal(size=200))]
    again = OutlierDetector(epochs=2).fit(noisy)
    assert again.spread_[5] == pytest.approx(detector.spread_[5], rel=1e-9)
    for other in (train, train.astype(np.float32), moved):
        assert (detector.predict(other) < 0).sum() < 30
    assert (again.predict(noisy) < 0).sum() < 30


def test_a_huge_value_does_not_decide_a_scale():
    rows = np.random.default_rng(0).normal(size=(200, 5))
    for huge in (1e6, 1e300, -1.7e308):
        spiked = np.c_[rows, np.where(np.arange(200) == 0, huge, 0.0)]
        detector = OutlierDetector().fit(spiked)
        assert detector.spread_[5] == 1.0
        assert detector.predict(np.r_[[np.zeros(6)], [[0, 0, 0, 0, 0, 1e4]]]).tolist() == [1, -1]
    both = np.c_[rows, np.where(np.arange(200) % 2, 1e306, -1e306)]
    assert np.isfinite(OutlierDetector().fit(both).score_samples(both)).all()
    rare = np.c_[rows, np.arange(200) < 20]  # a tenth ones: both quartiles are 0
    assert OutlierDetector().fit(rare).spread_[5] == pytest.approx(0.3)


def test_a_fit_that_is_refused_leaves_the_estimator_as_it_was():
    rows = np.random.default_rng(0).normal(size=(200, 4))
    detector = OutlierDetector(epochs=2).fit(rows)
    before, state = detector.predict(rows), dict(vars(detector))
    for change, wrong in (
        ({"options": {"latent": -3}}, rows * 1000),
        ({"epochs": 0}, rows * 1000),
        ({}, np.full((200, 4), np.nan)),
        ({"false_positive_rate": 1e-9}, np.ones((300, 7))),
    ):
        changed = detector.get_params()
        detector.set_params(**change)
        with pytest.raises(ValueError):  # noqa: PT011
            detector.fit(wrong)
        detector.set_params(**changed)
        assert vars(detector) == state
    assert np.array_equal(detector.predict(rows), before)
    assert detector.predict(np.full((1, 4), 30.0)).tolist() == [-1]


def test_a_fit_that_is_interrupted_leaves_the_estimator_as_it_was(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(200, 4))
    detector = PyODDetector(epochs=1, options=SMALL, score_name="squared_error").fit(rows)
    state = dict(vars(detector))

    def stopped(*_args, **_options):
        raise KeyboardInterrupt

    stages = ("estimator.fit", "estimator.Detector.fit", "estimators.PyODDetector._surprise")
    for stage in stages:
        with monkeypatch.context() as patch:
            patch.setattr(f"anogen.detection.{stage}", stopped)
            with pytest.raises(KeyboardInterrupt):
                detector.fit(rows * 1000)
        assert vars(detector) == state


def test_nothing_of_an_earlier_fit_stays(digits):
    rows = np.random.default_rng(0).normal(size=(200, 5))
    detector = PyODDetector(epochs=1, options=SMALL).fit(rows)
    detector.note = "the user's own"
    detector.fit(digits.train.pixels)
    assert not {"centre_", "spread_"} & set(vars(detector))
    assert detector.n_features_in_ == 28 * 28
    assert detector.note == "the user's own"
    assert len(detector.labels_) == len(digits.train)


def test_fits_in_threads_equal_the_serial_one_and_leave_the_caller_s_generator():
    rows = np.random.default_rng(0).normal(size=(200, 5))

    def fitted(_=None):
        made = OutlierDetector(epochs=2, options=SMALL, random_state=1, score_name="squared_error")
        return made.fit(rows).score_samples(rows)

    serial, state = fitted(), torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fitted, range(8)))
    assert all(np.array_equal(each, serial) for each in found)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("score", [None, "fused", "squared_error"])
def test_fits_do_not_depend_on_the_caller_s_settings(score):
    rows = np.random.default_rng(0).normal(size=(120, 5))

    def fitted():
        made = OutlierDetector(epochs=1, options=SMALL, score_name=score).fit(rows)
        return made.score_samples(rows)

    plain = fitted()
    torch.set_default_dtype(torch.float64)
    try:
        assert np.array_equal(fitted(), plain)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert np.array_equal(fitted(), plain)


def test_images_of_height_one_stay_images():
    lines = np.random.default_rng(0).integers(0, 256, (80, 1, 12), np.uint8)
    detector = OutlierDetector(epochs=1, options=SMALL).fit(lines)
    assert detector.predict(lines).shape == (80,)
    with pytest.raises(UsageError, match="fitted on images, now given a table"):
        detector.predict(lines[:, 0])


def test_a_training_that_diverges_names_no_folder():
    rows = np.random.default_rng(0).normal(size=(200, 5))
    with pytest.raises(TrainingError, match="smaller learning_rate") as error:
        OutlierDetector(epochs=3, learning_rate=1e6, score_name="squared_error").fit(rows)
    assert "/" not in str(error.value)


def test_row_neighbours_is_the_distance_to_the_fifth_other_row():
    rng = np.random.default_rng(0)
    rows, new = rng.normal(size=(300, 4)), rng.normal(size=(50, 4))
    detector = OutlierDetector(score_name="row_neighbours").fit(rows)
    held_in = np.isin(np.arange(300), known_rows(300))
    z = (rows - detector.centre_) / detector.spread_
    reference = NearestNeighbors(n_neighbors=5).fit(z[held_in])
    own = reference.kneighbors()[0][:, -1]  # of training rows, without themselves
    assert -detector.score_samples(rows[held_in]) == pytest.approx(own, rel=1e-4)
    other = reference.kneighbors((new - detector.centre_) / detector.spread_)[0][:, -1]
    assert -detector.score_samples(new) == pytest.approx(other, rel=1e-4)


def known_rows(count: int) -> np.ndarray:
    """The rows that are not held out, with random_state 0 and 20 % held out."""
    return np.random.RandomState(0).permutation(count)[round(0.2 * count) :]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("features", [2, 30, 300])
@pytest.mark.parametrize("share", [0.02, 0.1])
def test_the_default_on_a_table_is_never_the_wrong_way_round(seed, features, share):
    rows, truth = blobs(1000, features, share, seed)
    detector = PyODDetector(contamination=share).fit(rows)
    assert roc_auc_score(truth, detector.decision_scores_) > 0.9
    assert detector.labels_.mean() < 2 * share


@pytest.mark.parametrize("kind", [OutlierDetector, PyODDetector])
def test_a_model_class_of_one_s_own(kind):
    rows = np.random.default_rng(0).normal(size=(100, 4))
    mine = kind(OwnVAE, epochs=1, options=SMALL, score_name="squared_error").fit(rows)
    assert type(mine.model_) is OwnVAE
    again = pickle.loads(pickle.dumps(clone(mine).fit(rows)))
    assert type(again.model_) is OwnVAE


class OwnVAE(VAE):
    """A model of a user."""


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

    monkeypatch.setattr("anogen.detection.estimator.fit", stopped)
    rows = np.random.default_rng(0).normal(size=(200, 4))
    detector = OutlierDetector(score_name="squared_error")
    search = GridSearchCV(detector, {"epochs": [1]}, scoring=lambda *_: 0.0, cv=2)
    with pytest.raises(expected):
        search.fit(rows)


@pytest.mark.parametrize("score", [None, "fused", "one_class_svm"])
def test_numpy_s_random_state_is_the_caller_s(score):
    rows = np.random.default_rng(0).normal(size=(100, 4))
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    OutlierDetector(epochs=1, options=SMALL, score_name=score).fit(rows).predict(rows)
    assert np.array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("score", ["row_neighbours", "squared_error"])
def test_the_threshold_is_set_on_rows_that_are_held_out(score):
    rows = np.random.default_rng(0).normal(size=(200, 4))
    detector = OutlierDetector(epochs=1, options=SMALL, score_name=score, held_out=0.25).fit(rows)
    held_out = np.random.RandomState(0).permutation(200)[:50]
    expected = np.sort(-detector.score_samples(rows[held_out]))
    assert detector.detector_.calibration.scores == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("unit", ["M8[s]", "m8[ns]"])
def test_dates_are_refused(unit):
    dates = np.arange(80).reshape(40, 2).astype(unit)
    with pytest.raises(UsageError, match="has dates or times"):
        OutlierDetector().fit(dates)


def test_masked_values_are_refused():
    rows = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(DataError, match="masked values"):
        OutlierDetector().fit(np.ma.masked_greater(rows, 1))
    detector = OutlierDetector().fit(np.ma.masked_greater(rows, 100))  # nothing is masked
    assert np.array_equal(detector.predict(rows), OutlierDetector().fit(rows).predict(rows))
