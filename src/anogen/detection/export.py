"""A detector as one ONNX graph: bytes of images in, score, p-value and label out."""

import logging
import warnings
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anogen.checkpoint import replace_durably
from anogen.data.images import Images
from anogen.detection.detector import Detector
from anogen.detection.scores import SCORES
from anogen.detection.view import View
from anogen.errors import MachineError, UsageError
from anogen.nets.fold import folded

TOLERANCE = 1e-5
"""Largest difference between the graph's scores and ours, relative to the largest score."""
CHECKED = 200
"""Images on which they are compared."""


def export_onnx(
    detector: Detector, out: str | Path, images: Images, false_positive_rate: float = 0.01
) -> float:
    """Write preprocessing, model, score and calibration as one graph, checked against ours.

    The graph takes `pixels`, uint8 `[images, c, h, w]` with any number of images, and gives `score`
    (float64), `p_value` (float64, conformal) and `label` (int64, 1 = out), each `[images]`.

    Args:
        detector: whose score can be written as a graph: those that are computed by PyTorch alone,
            not `fused`, which compresses images.
        out: a name ending in `.onnx`.
        images: of the detector's shape, on which the graph must give the same.
        false_positive_rate: by which labels are given.

    Returns:
        The largest difference of a score from ours, relative to the largest score.

    Raises:
        UsageError: a name with another ending, a rate that the calibration cannot support, or a
            score that is no graph.
        MachineError: onnx, onnxscript or onnxruntime is missing, the graph gives other scores or
            labels, or it cannot be written.
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise UsageError(f"--out {out}: expected a name ending in .onnx")
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise MachineError(f"needs {', '.join(missing)}: pip install 'anogen[onnx]'")
    graph = _Graph(detector, false_positive_rate).eval()
    some = images[:CHECKED]
    content = _exported(graph, torch.from_numpy(np.array(some.pixels[:2])), detector.name)
    difference = _difference(content, detector, some, false_positive_rate)
    replace_durably(out, content)
    return difference


class _Graph(nn.Module):
    """What the graph computes, in operations that ONNX has."""

    calibration: Tensor

    def __init__(self, detector: Detector, false_positive_rate: float) -> None:
        super().__init__()
        self.model = folded(detector.model).cpu()
        self.function = SCORES[detector.name]
        self.state = {name: tensor.cpu() for name, tensor in detector.state.items()}
        self.companions = [folded(companion).cpu() for companion in detector.companions]
        self.threshold = detector.calibration.threshold(false_positive_rate)
        self.register_buffer("calibration", torch.from_numpy(detector.calibration.scores))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        view = View(self.model, pixels.to(torch.float32) / 255, self.companions)
        score = self.function(view, self.state).double()
        above = (self.calibration[None] >= score[:, None]).sum(1)
        p_value = (1 + above).double() / (len(self.calibration) + 1)
        return score, p_value, (score > self.threshold).long()


def _exported(graph: _Graph, pixels: Tensor, name: str) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    many: Any = {"pixels": {0: torch.export.Dim("images")}}
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            graph(pixels)  # what is computed once for all images becomes a constant
            program: Any = torch.onnx.export(
                graph, (pixels,), dynamo=True, dynamic_shapes=many, verbose=False,
                input_names=["pixels"], output_names=["score", "p_value", "label"],
            )  # fmt: skip
    except Exception as error:  # the exporter raises whatever it meets in a score
        raise UsageError(
            f"the score {name} cannot be written as an ONNX graph, because not all of it is "
            "computed by PyTorch; squared_error, negative_elbo or feature_error can"
        ) from error
    return program.model_proto.SerializeToString()


def _difference(
    content: bytes, detector: Detector, images: Images, false_positive_rate: float
) -> float:
    """How far the graph is from the detector, refused where that is too far."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    score, _, label = session.run(None, {"pixels": np.array(images.pixels[:])})
    ours = detector.score(images)
    found = float(np.abs(score - ours).max() / max(np.abs(ours).max(), 1e-12))
    threshold = detector.calibration.threshold(false_positive_rate)
    sure = np.abs(ours - threshold) > TOLERANCE * np.abs(ours).max()
    if found > TOLERANCE or np.any((label != (ours > threshold))[sure]):
        raise MachineError(
            f"the graph's scores differ from ours by {found:.1e}; nothing is written"
        )
    return found
