"""A detector as an ONNX graph: the same scores, p-values and labels for any number of images."""

import numpy as np
import onnxruntime
import pytest

from anogen import Detector
from anogen.detection import export as module
from anogen.detection.export import export_onnx
from anogen.errors import MachineError, UsageError

from ..conftest import one_line


@pytest.mark.parametrize(
    "score", ["squared_error", "feature_error", "negative_elbo", "principal_error"]
)
def test_the_graph_gives_what_the_detector_gives(trained, digits, tmp_path, score):
    detector = Detector.fit(trained.load_model(), digits, score)
    out = tmp_path / "detector.onnx"
    difference = export_onnx(detector, out, digits.validation, 0.05)
    assert difference < 1e-4
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    for count in (1, 7, 60):
        images = digits.test[:count]
        found, p_value, label = session.run(None, {"pixels": np.array(images.pixels)})
        ours = detector.score(images)
        assert found == pytest.approx(ours, rel=1e-4, abs=1e-4 * np.abs(ours).max())
        assert (np.abs(p_value - detector.p_value(images)) <= 1 / 61).all()  # ties may break
        assert (label == detector.predict(images, 0.05)).mean() > 0.95
        assert (found.dtype, p_value.dtype, label.dtype) == (np.float64, np.float64, np.int64)


def test_a_graph_that_differs_is_not_written(trained, digits, tmp_path, monkeypatch):
    detector = Detector.fit(trained.load_model(), digits, "squared_error")
    monkeypatch.setattr(module, "TOLERANCE", 0.0)
    with pytest.raises(MachineError, match="differ from ours by"):
        export_onnx(detector, tmp_path / "detector.onnx", digits.validation, 0.05)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused(trained, digits, tmp_path, monkeypatch):
    detector = Detector.fit(trained.load_model(), digits, "fused")
    with pytest.raises(UsageError, match="fused cannot be written as an ONNX graph"):
        export_onnx(detector, tmp_path / "detector.onnx", digits.validation, 0.05)
    with pytest.raises(UsageError, match=r"ending in \.onnx"):
        export_onnx(detector, tmp_path / "detector.pb", digits.validation, 0.05)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="needs onnx, onnxscript, onnxruntime"):
        export_onnx(detector, tmp_path / "detector.onnx", digits.validation, 0.05)


def test_the_command(anogen, noise_file, tmp_path):
    run = tmp_path / "run"
    anogen("train", "--data", noise_file, "--run", run, "--model.width", 4, "--epochs", 1)
    outcome = anogen("export", run, "--fpr", 0.1)
    assert outcome.code == 0
    assert outcome.out.strip() == str(run / "squared_error.onnx")
    assert (run / "squared_error.onnx").stat().st_size > 1000
    refused = anogen("export", run, "--fpr", 0.0001)
    assert refused.code == 2
    assert one_line(refused)
