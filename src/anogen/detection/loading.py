"""A run's model and detectors in one line."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from anogen.data.pictures import Pictures
from anogen.data.splits import Splits, expect
from anogen.detection.detector import Detector
from anogen.detection.scores import available, usual_score
from anogen.models.base import Model
from anogen.run import Run


def load(
    path: str | Path,
    *,
    data: Splits | None = None,
    checkpoint: str | None = None,
    image_size: int | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    allow_code: bool = False,
) -> "Trained":
    """The model of a run, and its detectors, each made or loaded when it is first asked for.

    Args:
        path: of the run's folder.
        data: the run's data, for calibration; needed only where it came from arrays in memory.
        checkpoint: `best` or `last`; default: the best one where there is one.
        image_size: height and width to bring picture files to that detectors are given by their
            paths; default: as in the run's training.
        data_dir: where data sets lie, for calibration.
        device: where detectors compute: `auto`, `cpu`, `cuda` or `cuda:N`.
        allow_code: as in `Run.load_model`.

    Raises:
        UsageError: there is no run, or its model is not anogen's own.
        MachineError: no checkpoint yet, or a damaged one.

    Examples:
        >>> import tempfile, torch, anogen
        >>> digits, folder = anogen.load_data("digits"), tempfile.mkdtemp() + "/run"
        >>> _ = torch.manual_seed(0)
        >>> _ = anogen.fit(anogen.VAE(digits.shape, latent=2), digits, folder, epochs=1)
        >>> trained = anogen.load(folder)
        >>> trained.model.latent, trained.detector.name
        (2, 'fused')
        >>> trained.detectors["squared_error"].score(digits.test.pixels[:3]).shape
        (3,)
    """
    run = Run.open(path)
    if data is not None:
        expect(data, Splits, "load")
        run.check_data(data)
    pictures = run.pictures
    if image_size is not None:
        pictures = replace(pictures, image_size=image_size)
    model = run.load_model(checkpoint, allow_code=allow_code)
    return Trained(run, model, Detectors(run, model, pictures, data, data_dir, device, allow_code))


@dataclass(frozen=True, eq=False)
class Detectors:
    """The detectors of a run, by the names of their scores; see `load` for the attributes.

    Iterating gives the names of all that the model can have; one that the run does not keep yet is
    calibrated when it is asked for, which takes the run's data.
    """

    run: Run
    model: Model
    pictures: Pictures
    data: Splits | None
    data_dir: str | Path | None
    device: str
    allow_code: bool

    @cached_property
    def _known(self) -> dict[str, Detector]:
        return {}

    def __getitem__(self, score: str) -> Detector:
        """The detector with this score.

        Raises:
            UsageError: there is no such score, or the model cannot give it.
            DataError: it must be calibrated, and the run's data is not there.
        """
        if score not in self._known:
            detector = Detector.of_run(
                self.run, score, model=self.model, data=self.data, data_dir=self.data_dir,
                device=self.device, allow_code=self.allow_code,
            )  # fmt: skip
            self._known[score] = replace(detector, pictures=self.pictures)
        return self._known[score]

    def __iter__(self) -> Iterator[str]:
        return iter(available(self.model))

    def __len__(self) -> int:
        return len(available(self.model))

    def __contains__(self, score: object) -> bool:
        return score in available(self.model)


@dataclass(frozen=True, eq=False)
class Trained:
    """What `load` gives.

    Attributes:
        run: the folder.
        model: in evaluation mode, on the processor.
        detectors: name of a score → detector.
    """

    run: Run
    model: Model
    detectors: Detectors

    def __repr__(self) -> str:
        """The run and its model's name, not its layers."""
        return f"<{type(self.model).__name__} of {self.run.shown}>"

    @property
    def detector(self) -> Detector:
        """The usual detector; see `anogen.detection.scores.usual_score`."""
        return self.detectors[usual_score(self.model.shape)]
