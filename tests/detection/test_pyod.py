"""PyOD's contract, held by PyOD's own code and data, from its package.

PyOD's package has no tests in it. Where a copy of its file `pyod/test/test_vae.py` is at hand, for
example in a clone of its repository, `ANOGEN_PYOD_TEST_VAE=path/to/test_vae.py` runs that file here
with our detector in the place of PyOD's VAE.
"""

import importlib.util
import os
import sys
import unittest
from pathlib import Path
from types import ModuleType

import numpy as np
import pyod
import pytest
from pyod.models.base import BaseDetector
from pyod.models.knn import KNN
from pyod.utils.data import evaluate_print, generate_data
from sklearn.metrics import roc_auc_score

from anogen import PyODDetector

FILE = os.environ.get("ANOGEN_PYOD_TEST_VAE", "")
WITHIN = Path(pyod.__file__).parent / "test" / "test_vae.py"


def test_pyod_s_own_tests_of_its_vae_pass_on_ours(monkeypatch):
    path = Path(FILE) if FILE else WITHIN
    if not path.is_file():
        pytest.skip("PyOD's package has no tests; set ANOGEN_PYOD_TEST_VAE to its test_vae.py")
    spec = importlib.util.spec_from_file_location("pyod_test_vae", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    ours = ModuleType("pyod.models.vae")
    ours.VAE = PyODDetector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyod.models.vae", ours)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(module)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    assert suite.countTestCases() >= 10
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    assert not result.failures
    assert not result.errors


@pytest.fixture(scope="module")
def data():
    """The data of PyOD's own tests of its VAE."""
    return generate_data(n_train=6000, n_test=1000, n_features=300, contamination=0.1,
                         random_state=42)  # fmt: skip


@pytest.fixture(scope="module", params=[None, "row_neighbours"])
def fitted(request, data):
    return PyODDetector(epochs=5, contamination=0.1, score_name=request.param).fit(data[0])


def test_it_finds_what_pyod_s_tests_demand(fitted, data, capsys):
    _, new, _, truth = data
    scores = fitted.decision_function(new)
    assert roc_auc_score(truth, scores) >= 0.95
    evaluate_print("anogen", truth, scores)  # PyOD's own measures take our scores
    assert "ROC:" in capsys.readouterr().out
    assert 0.05 < fitted.labels_.mean() < 0.35


def test_it_has_what_pyod_s_detectors_have(fitted, data):
    rows, new, _, truth = data
    theirs = KNN(contamination=0.1).fit(rows[:500])
    fitted_names = {name for name in vars(theirs) if name.endswith("_")} - {"neigh_", "tree_"}
    assert {"decision_scores_", "labels_", "threshold_"} <= fitted_names
    for name in (*fitted_names & {"decision_scores_", "labels_", "threshold_", "model_"},
                 "_mu", "_sigma", "model_"):  # fmt: skip
        assert getattr(fitted, name) is not None
    assert fitted.decision_scores_.shape == (len(rows),)
    assert fitted.predict(new).shape == truth.shape
    assert set(fitted.predict(new).tolist()) == {0, 1}
    assert fitted._mu == pytest.approx(fitted.decision_scores_.mean())
    assert fitted._sigma == pytest.approx(fitted.decision_scores_.std())


@pytest.mark.parametrize("method", ["linear", "unify"])
def test_probabilities_and_confidences_are_pyod_s(fitted, data, method):
    """Computed by PyOD's own base class from our scores, threshold and training scores."""
    new = data[1][:300]
    theirs = _Theirs(fitted)
    assert fitted.predict_proba(new, method=method) == pytest.approx(
        theirs.predict_proba(new, method=method), abs=1e-9
    )
    labels, confidence = fitted.predict(new, return_confidence=True)
    assert np.array_equal(labels, theirs.predict(new))
    assert confidence == pytest.approx(theirs.predict_confidence(new), abs=1e-9)
    assert fitted.predict_proba(new, return_confidence=True)[1] == pytest.approx(confidence)
    with pytest.raises(ValueError, match="linear or unify"):
        fitted.predict_proba(new, method="something")


@pytest.mark.parametrize("tolerance", [5, 10, 32])
def test_rejections_and_ranks_are_pyod_s(fitted, data, tolerance):
    new, theirs = data[1][:300], _Theirs(fitted)
    ours, statistics = fitted.predict_with_rejection(new, T=tolerance, return_stats=True)
    expected, expected_statistics = theirs.predict_with_rejection(
        new, T=tolerance, return_stats=True, c_r=fitted.contamination
    )
    assert np.array_equal(ours, expected)
    assert np.array_equal(fitted.predict_with_rejection(new, T=tolerance), expected)
    assert statistics == pytest.approx(expected_statistics, nan_ok=True)
    for normalized in (False, True):
        assert np.array_equal(
            fitted._predict_rank(new, normalized), theirs._predict_rank(new, normalized)
        )


class _Theirs(BaseDetector):
    """PyOD's base class over our scores."""

    def __init__(self, ours):
        super().__init__(contamination=ours.contamination)
        self.ours = ours
        self.decision_scores_, self.threshold_ = ours.decision_scores_, ours.threshold_
        self.labels_, self._classes = ours.labels_, 2
        self._mu, self._sigma = ours._mu, ours._sigma

    def fit(self, X, y=None):  # noqa: N803
        return self

    def decision_function(self, X):  # noqa: N803
        return self.ours.decision_function(X)
