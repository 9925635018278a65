"""A detector as one ONNX graph: images or rows in, score, p-value and label out."""

import logging
import math
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anogen.data.images import Images
from anogen.data.scaling import SQUASH, Scaling, squash, standardised
from anogen.detection.detector import Detector
from anogen.detection.scores import SCORES
from anogen.detection.view import Derived, View
from anogen.durable import replace_durably
from anogen.errors import AnogenError, MachineError, UsageError, first_line
from anogen.nets.fold import folded

TOLERANCE = 1e-5
"""Largest difference between the graph's scores and ours, relative to the largest score."""
ROUNDING = 2e-6
"""And this difference is always allowed: terms of about 1 that cancel to nothing, as in the KL of a
posterior that is the prior, leave as much in float32. A score in nats is a sum of about one such
term for each value of an image, and is allowed as much more."""
TIES = 1e-6
"""Scores that differ by less than this share of the largest one of the calibration are equal: the
threshold is a calibration score, and the same row must fall on the same side of it here and there.
"""
CHECKED = 200
"""Images on which they are compared, together and in batches of these sizes:"""
BATCHES = (1, 2, 7)


def export_onnx(
    detector: Detector,
    out: str | Path,
    images: Images,
    false_positive_rate: float = 0.01,
    *,
    scaling: Scaling | None = None,
) -> float:
    """Write preprocessing, model, score and calibration as one graph, checked against ours.

    The graph takes any number of images as `pixels`, uint8 `[images, c, h, w]`, and gives `score`
    (float64), `p_value` (float64, conformal) and `label` (int64, 1 = out), each `[images]`. A row
    with NaN or infinity, which our own detector refuses, has the score NaN and the label 1. Of a
    table's detector `pixels` are float32 `[rows, 1, 1, columns]` in [0, 1]; with the scaling of an
    estimator the graph takes `rows`, float64 `[rows, columns]`, instead, as they come. (An
    estimator's method `export` gives it.)

    Args:
        detector: whose score can be written as a graph: those that are computed by PyTorch alone,
            not `fused`, which compresses images.
        out: a name ending in `.onnx`.
        images: of the detector's shape, on which the graph must give the same.
        false_positive_rate: by which labels are given.
        scaling: of a table's columns.

    Returns:
        The largest difference of a score from ours, relative to the largest score.

    Raises:
        UsageError: a name with another ending, a rate that the calibration cannot support, images
            of another shape, or a score that is no graph, with the reason.
        MachineError: onnx, onnxscript or onnxruntime is missing, the graph gives other scores or
            labels, or it cannot be written.
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise UsageError(f"--out {out}: expected a name ending in .onnx")
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise MachineError(f"needs {', '.join(missing)}: pip install 'anogen[onnx]'")
    if images.shape != detector.model.shape:
        raise UsageError(
            f"{images.name}: images of {images.shape}, the model has {detector.model.shape}"
        )
    graph = _Graph(detector, false_positive_rate, scaling).eval()
    some = images[:CHECKED]
    given = _inputs(some, scaling)
    content = _exported(graph, torch.from_numpy(given[:2]), detector.name)
    difference = _difference(content, detector, some, given, false_positive_rate)
    replace_durably(out, content)
    return difference


def _inputs(images: Images, scaling: Scaling | None) -> NDArray[Any]:
    """What the graph takes for these images; rows are unsquashed again where it scales them."""
    pixels = np.array(images.pixels[:])
    if scaling is None:
        return pixels
    z = standardised(torch.from_numpy(pixels[:, 0, 0])).numpy()
    return scaling.centre + z * scaling.spread


class _Graph(nn.Module):
    """What the graph computes, in operations that ONNX has."""

    calibration: Tensor

    def __init__(
        self, detector: Detector, false_positive_rate: float, scaling: Scaling | None
    ) -> None:
        super().__init__()
        self.model = folded(detector.model).cpu()
        self.function = SCORES[detector.name]
        self.state = {name: tensor.cpu() for name, tensor in detector.state.items()}
        self.companions = [folded(companion).cpu() for companion in detector.companions]
        self.derived: Derived = {}
        self.threshold = detector.calibration.threshold(false_positive_rate)
        self.rounding = TIES * float(np.abs(detector.calibration.scores).max())
        self.scaling = None
        if scaling is not None:
            self.scaling = torch.from_numpy(scaling.centre), torch.from_numpy(scaling.spread)
        self.register_buffer("calibration", torch.from_numpy(detector.calibration.scores))

    @property
    def input(self) -> str:
        return "pixels" if self.scaling is None else "rows"

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        view = View(self.model, self._images(given), self.companions, derived=self.derived)
        score = self.function(view, self.state).double()
        near = self.calibration[None] >= score[:, None] - self.rounding
        p_value = (1 + near.sum(1)).double() / (len(self.calibration) + 1)
        inside = score <= self.threshold + self.rounding  # false for NaN, which is nothing we know
        return score, p_value, 1 - inside.long()

    def _images(self, given: Tensor) -> Tensor:
        if self.scaling is not None:
            centre, spread = self.scaling
            return squash((given - centre) / (SQUASH * spread)).float()[:, None, None]
        if given.dtype == torch.uint8:
            return given.to(torch.float32) / 255
        return given


def _exported(graph: _Graph, given: Tensor, name: str) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    many: Any = {"given": {0: torch.export.Dim("images")}}
    try:
        said = StringIO()
        with (
            warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said), torch.no_grad()
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            graph(given)  # what is computed once for all images becomes a constant
            program: Any = torch.onnx.export(
                graph, (given,), dynamo=True, dynamic_shapes=many, verbose=False,
                input_names=[graph.input], output_names=["score", "p_value", "label"],
            )  # fmt: skip
            return program.model_proto.SerializeToString()
    except AnogenError:
        raise
    except Exception as error:  # the exporter raises whatever it meets in a score
        raise UsageError(
            f"the score {name} cannot be written as an ONNX graph, because not all of it is "
            f"computed by PyTorch for any number of images; {_EXPORTABLE} can"
        ) from error


_EXPORTABLE = (
    "squared_error, negative_elbo, feature_error, local_gaussian_pixels or, of a table, "
    "row_neighbours"
)


def _difference(
    content: bytes,
    detector: Detector,
    images: Images,
    given: NDArray[Any],
    false_positive_rate: float,
) -> float:
    """How far the graph is from the detector, refused where that is too far."""
    import onnxruntime

    try:
        session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (name,) = (each.name for each in session.get_inputs())
        whole = session.run(None, {name: given})
        parts = [session.run(None, {name: given[:size]}) for size in BATCHES]
    except Exception as error:  # onnxruntime has an exception of its own for everything
        raise UsageError(
            f"the score {detector.name} became a graph that ONNX Runtime cannot run "
            f"({first_line(error)}); {_EXPORTABLE} can be exported"
        ) from error
    ours = detector.score(images)
    threshold = detector.calibration.threshold(false_positive_rate)
    largest = max(float(np.abs(ours).max()), 1e-12)
    terms = math.prod(images.shape) if "nats" in SCORES[detector.name].unit else 0
    allowed = TOLERANCE * largest + ROUNDING * (1 + terms / 10)
    sure = np.abs(ours - threshold) > allowed
    worst = 0.0
    for score, _, label in (whole, *parts):
        own, surely = ours[: len(score)], sure[: len(score)]
        worst = max(worst, float(np.abs(score - own).max()))
        if not worst <= allowed or np.any((label != (own > threshold))[surely]):
            raise MachineError(
                f"the graph's scores of {len(score)} images differ from ours by up to {worst:.1e} "
                f"(the largest score is {largest:.1e}); nothing is written"
            )
    return worst / largest
