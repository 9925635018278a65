"""A detector as an ONNX graph: the same scores, p-values and labels for any number of images."""

import numpy as np
import onnxruntime
import pytest
import torch

from anogen import MODELS, Detector, OutlierDetector, PyODDetector
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


EXPORTED = {
    "VAE": ["absolute_error", "cross_entropy", "cosine_distance", "kl", "importance_weighted",
            "typicality", "latent_norm", "latent_neighbours", "nonzero_pixels", "sharpness",
            "nearest_pixels", "one_class_svm", "isolation_forest", "local_gaussian_pixels",
            "local_gaussian_learnt", "patch_neighbours_pixels"],
    "NCPVAE": ["contrast"],
    "VAEGAN": ["unreal", "discriminator_error"],
    "StyleGAN": ["unreal"],
}  # fmt: skip
REFUSED = ["regret", "complexity_corrected", "latent_mixture", "latent_mahalanobis",
           "pixel_entropy"]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "score"), [(model, score) for model, scores in EXPORTED.items() for score in scores]
)
def test_every_graph_takes_any_number_of_images(digits, tmp_path, model, score):
    torch.manual_seed(0)
    detector = Detector.fit(MODELS[model](digits.shape, latent=3, width=4), digits, score)
    export_onnx(detector, tmp_path / "x.onnx", digits.validation, 0.1)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    ours = detector.score(digits.test)
    for count in (1, 2, 7, 60):
        found, _, _ = session.run(None, {"pixels": np.array(digits.test.pixels[:count])})
        assert found == pytest.approx(ours[:count], rel=1e-4, abs=1e-4 * np.abs(ours).max())


@pytest.mark.parametrize("score", REFUSED)
def test_a_score_that_is_no_graph_is_refused_with_the_reason(digits, tmp_path, score, capfd):
    torch.manual_seed(0)
    detector = Detector.fit(MODELS["VAE"](digits.shape, latent=3, width=4), digits, score)
    capfd.readouterr()
    with pytest.raises(UsageError, match="not all of it is computed by PyTorch") as refusal:
        export_onnx(detector, tmp_path / "x.onnx", digits.validation, 0.1)
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr().err == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("score", [None, "squared_error", "one_class_svm"])
@pytest.mark.parametrize("kind", [OutlierDetector, PyODDetector])
def test_tables_can_be_exported(tmp_path, score, kind):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 5)) * [1, 10, 1e-3, 1e5, 1] + [0, 3, 0, 1e6, 7]
    detector = kind(epochs=1, score_name=score).fit(rows)
    detector.export(tmp_path / "t.onnx", rows)
    session = onnxruntime.InferenceSession(tmp_path / "t.onnx", providers=["CPUExecutionProvider"])
    new = np.r_[rows[:20], rows[:3] * 50]
    called = detector.predict(new) if kind is PyODDetector else (1 - detector.predict(new)) // 2
    for count in (1, 2, 7, 23):
        found, _, label = session.run(None, {"rows": new[:count]})
        ours = detector._surprise(new)[:count]
        assert found == pytest.approx(ours, rel=1e-4, abs=1e-5)
        assert (label == called[:count]).mean() > 0.95
    images = detector._images(rows, new=False)
    export_onnx(detector.detector_, tmp_path / "raw.onnx", images, 0.1)
    graph = onnxruntime.InferenceSession(tmp_path / "raw.onnx", providers=["CPUExecutionProvider"])
    found, _, _ = graph.run(None, {"pixels": np.array(images.pixels)})
    assert found == pytest.approx(detector._surprise(rows), rel=1e-4, abs=1e-5)


def test_a_posterior_that_is_the_prior_can_be_exported(digits, tmp_path):
    """The KL is nothing but rounding there, which no tolerance relative to it admits."""
    torch.manual_seed(0)
    model = MODELS["VAE"](digits.shape, latent=3, width=4)
    for parameter in model.encoder.head.parameters():
        torch.nn.init.normal_(parameter, std=1e-5)
    detector = Detector.fit(model, digits, "kl")
    assert detector.score(digits.test).max() < 1e-6
    export_onnx(detector, tmp_path / "x.onnx", digits.validation, 0.1)


def test_images_of_another_shape_are_refused(trained, digits, noise, tmp_path):
    detector = Detector.fit(trained.load_model(), digits, "squared_error")
    with pytest.raises(UsageError, match="the model has"):
        export_onnx(detector, tmp_path / "x.onnx", noise.test, 0.1)


def test_a_graph_that_differs_is_not_written(trained, digits, tmp_path, monkeypatch):
    detector = Detector.fit(trained.load_model(), digits, "squared_error")
    monkeypatch.setattr(module, "TOLERANCE", 0.0)
    monkeypatch.setattr(module, "ROUNDING", 0.0)
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


@pytest.mark.parametrize("seed", [1, 5])
def test_a_row_at_the_threshold_is_in_here_and_there(tmp_path, seed):
    rows = np.random.default_rng(seed).normal(size=(400, 4))
    detector = PyODDetector().fit(rows)
    detector.export(tmp_path / "t.onnx", rows)
    session = onnxruntime.InferenceSession(tmp_path / "t.onnx", providers=["CPUExecutionProvider"])
    _, p_value, label = session.run(None, {"rows": rows})
    assert np.array_equal(label, detector.predict(rows))
    assert np.array_equal(label == 1, p_value <= 0.1 + 1e-12)


def test_what_is_no_number_is_out(tmp_path):
    rows = np.random.default_rng(0).normal(size=(200, 3))
    for score in (None, "squared_error"):
        detector = OutlierDetector(epochs=1, score_name=score).fit(rows)
        detector.export(tmp_path / "t.onnx", rows)
        session = onnxruntime.InferenceSession(
            tmp_path / "t.onnx", providers=["CPUExecutionProvider"]
        )
        odd = np.array([[np.nan, 0, 0], [0, np.inf, 0], [0, 0, -np.inf]])
        score, _, label = session.run(None, {"rows": odd})
        assert label.tolist() == [1, 1, 1]


def test_the_graph_s_p_values_are_conformal(trained, digits, tmp_path):
    detector = Detector.fit(trained.load_model(), digits, "squared_error")
    export_onnx(detector, tmp_path / "x.onnx", digits.validation, 0.05)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    white = np.full((1, *digits.shape), 255, np.uint8)  # further out than all of calibration
    _, p_value, _ = session.run(None, {"pixels": white})
    assert p_value[0] == pytest.approx(1 / (len(digits.validation) + 1))
