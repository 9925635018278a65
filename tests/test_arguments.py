"""Arguments of a wrong kind end in one clear line, not in a fault of Python's."""

import numpy as np
import pytest

import anogen
from anogen.detection.calibration import Calibration, discoveries
from anogen.detection.metrics import precision_recall, separation
from anogen.errors import AnogenError, DataError, UsageError


@pytest.fixture(scope="module")
def data() -> anogen.Splits:
    return anogen.load_data("digits", limit=100)


CALLS = {
    "fit, a name": lambda data, path: anogen.fit("VAE", data, path),
    "fit, images": lambda data, path: anogen.fit(anogen.VAE(data.shape), data.train, path),
    "run": lambda data, path: anogen.Run.open(5),
    "load": lambda data, path: anogen.load(None),
    "detector, a name": lambda data, path: anogen.Detector.fit("VAE", data),
    "detector, images": lambda data, path: anogen.Detector.fit(anogen.VAE(data.shape), data.train),
    "corrupt, nothing": lambda data, path: anogen.corrupt(data.test, None),
    "corrupt, splits": lambda data, path: anogen.corrupt(data, "blur"),
    "evaluate, a name": lambda data, path: anogen.evaluate("VAE", data.test),
    "generation, a name": lambda data, path: anogen.evaluate_generation("VAE", data),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_kind_is_named(name, data, tmp_path):
    with pytest.raises(UsageError) as caught:
        CALLS[name](data, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "call",
    [
        lambda: precision_recall(np.array([np.nan]), np.array([1.0])),
        lambda: precision_recall(np.array([False]), np.array([1j])),
        lambda: separation(np.array([1j]), np.array([1.0])),
        lambda: Calibration.of(np.arange(99.0)).false_positive_interval(0.2, 2),
        lambda: discoveries(np.array([0.5, 1.5]), 0.1),
        lambda: discoveries(np.array([-0.5]), 0.1),
    ],
)
def test_numbers_that_mean_nothing_are_refused(call):
    with pytest.raises(AnogenError):
        call()


def test_a_table_of_too_few_rows_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="too few to split"):
        anogen.load_data(tmp_path / "rows.csv")
