"""One run's folder, which explains itself.

- `config.yaml`: everything that made it; `anogen train --config` repeats it
- `environment.json`: versions, device, precision, hashes of the data
- `metrics.jsonl`: one line per epoch
- `samples/`: new images after each epoch, always of the same latents
- `checkpoints/`: `last`, `best` and the predecessor of each, with a manifest
- `figures/`: pictures, and lists of them with their captions
- `detector/`: a folder for each score with which it was calibrated
- `evaluation.json`: what `anogen evaluate` measured
- `detection.json`: what `anogen detect` measured
- `report.html`: the page
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from anogen.checkpoint import load_checkpoint, make_folder, previous_of, replace_durably
from anogen.data.catalog import DATASETS, base_of, load_data
from anogen.data.images import Images, Splits
from anogen.errors import DataError, MachineError, UsageError
from anogen.models import build_model
from anogen.models.base import GenerativeModel

MAX_NAME_BYTES = 255
DATA_OPTIONS = ("data", "data_dir", "image_size", "resize", "channels", "limit")
"""The keys of `config.yaml` that are arguments of `load_data`."""


@dataclass(frozen=True)
class Run:
    """A training run in a folder; `Run.open(path)` for an existing one.

    Examples:
        >>> Run.open("no/such/run")
        Traceback (most recent call last):
        anogen.errors.UsageError: no/such/run: there is no run (no config.yaml in it)
    """

    path: Path

    @classmethod
    @contextmanager
    def creating(cls, path: str | Path) -> Generator["Run"]:
        """A new folder, filled in the block, which gets its name, complete, at the block's end.

        A crash in the block leaves no run behind; of two processes that ask for one name, one
        gets it.

        Raises:
            UsageError: it exists already, or the name cannot be a folder's.
            MachineError: the folder cannot be written.
        """
        run = cls.vacant(path)
        aside = run.path.with_name(f".{run.path.name[:200]}.{os.getpid()}.new")
        try:
            try:
                aside.mkdir(parents=True)
            except OSError as error:
                raise MachineError(f"{run.path}: cannot be made ({error.strerror})") from error
            yield cls(aside)
            run.refuse_existing()
            aside.rename(run.path)
        except OSError as error:
            if isinstance(error, MachineError):
                raise
            run.refuse_existing()
            raise MachineError(f"{run.path}: cannot be made ({error.strerror})") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    @classmethod
    def vacant(cls, path: str | Path) -> "Run":
        """A run that is not there yet and could be made; nothing is written.

        Raises:
            UsageError: it exists already, or the name cannot be a folder's.
            MachineError: the folder above it cannot be written.
        """
        run = cls(_checked(path))
        run.refuse_existing()
        above = next(folder for folder in run.path.absolute().parents if folder.exists())
        try:
            with tempfile.TemporaryFile(dir=above):
                pass
        except OSError as error:
            raise MachineError(f"{above}: cannot be written ({error.strerror})") from error
        return run

    def refuse_existing(self) -> None:
        """Raise a `UsageError` if something stands at the path."""
        if os.path.lexists(self.path):
            raise UsageError(
                f"{self.path} exists already; choose another folder, or continue it with resume"
            )

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """An existing run.

        Raises:
            UsageError: there is none.
        """
        run = cls(_checked(path))
        if not (run.path / "config.yaml").is_file():
            raise UsageError(f"{run.path}: there is no run (no config.yaml in it)")
        return run

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def config(self) -> dict[str, Any]:
        """What made the run, as `config.yaml` has it."""
        try:
            loaded = yaml.safe_load((self.path / "config.yaml").read_text("utf-8"))
            return dict(loaded)
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise UsageError(f"{self.path}/config.yaml: not a valid configuration") from error

    @property
    def environment(self) -> dict[str, Any]:
        """Where it ran and on which data, as `environment.json` has it."""
        return json.loads((self.path / "environment.json").read_text("utf-8"))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One row per finished epoch, first to last."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        rows = [_row(line) for line in lines]
        return [row for row in rows if row is not None]

    @property
    def figures(self) -> Path:
        """The folder of pictures, made where it is missing."""
        return make_folder(self.path / "figures")

    def detector(self, score: str) -> Path:
        """The folder of the detector with a score, whether it is there or not."""
        return self.path / "detector" / score

    def checkpoint(self, which: str) -> Path:
        """The folder of a checkpoint: `last`, `best` or `last.previous`."""
        return self.path / "checkpoints" / which

    def load_state(
        self, which: str = "last", stems: tuple[str, ...] | None = None
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Tensors (files named by `stems`, default all) and state of a checkpoint.

        One that a crash left under its old name, while a new one took its place, is found there.

        Raises:
            MachineError: it is damaged; the message names another that is whole.
        """
        folder = self.checkpoint(which)
        if not folder.exists() and previous_of(folder).exists():
            folder = previous_of(folder)
        try:
            return load_checkpoint(folder, stems)
        except MachineError as error:
            raise MachineError(f"{error}{self._advice(folder)}") from error

    def load_model(self, checkpoint: str | None = None) -> GenerativeModel:
        """The trained model in evaluation mode, on the processor.

        Args:
            checkpoint: `best` or `last`, or `last.previous` for the one before it; default: the
                best one where there is one.

        Raises:
            MachineError: no checkpoint yet, or a damaged one.
        """
        tensors, state = self.load_state(self._chosen(checkpoint), ("weights",))
        model = build_model(**state["model"])
        model.load_state_dict(tensors["weights"])
        return model.eval()

    def epoch_of(self, checkpoint: str | None = None) -> int:
        """After how many epochs the weights of a checkpoint were kept; default as `load_model`."""
        _, state = self.load_state(self._chosen(checkpoint), ())
        return int(state["counters"]["epoch"])

    def _chosen(self, checkpoint: str | None) -> str:
        return checkpoint or ("best" if self.checkpoint("best").exists() else "last")

    def load_data(self, data_dir: str | Path | None = None) -> Splits:
        """The data that the run was trained on, sought where the run found it or in `data_dir`.

        Raises:
            DataError: it came from arrays in memory, or has changed since.
        """
        config = self.config
        if not config["data"]:
            raise DataError(f"{self.path}: was trained on arrays in memory; give them again")
        source: dict[str, Any] = {key: config[key] for key in DATA_OPTIONS if key in config}
        if data_dir is not None:
            source["data_dir"] = data_dir
        splits = load_data(**source)
        self.check_data(splits)
        return splits

    def load_other(self, name: str, data_dir: str | Path | None = None) -> Images:
        """What the run has not learnt: pictures brought to its size and colours, as few images.

        Of the run's own data, transformed, these are the test images; of other data all that stands
        for it.

        Args:
            name: of a data set, or a path, as for `load_data`.
            data_dir: where data sets lie.
        """
        base = base_of(name)
        plain = base in (*DATASETS, "auto") or Path(base).is_file()
        keys = ("limit",) if plain else ("limit", "image_size", "resize")
        config = self.config
        source: dict[str, Any] = {key: config[key] for key in keys if key in config}
        channels = self.environment["data"]["shape"][0]
        if not plain and channels in (1, 3):
            source["channels"] = channels
        splits = load_data(name, data_dir=data_dir, **source)
        own = config["data"] and base == base_of(config["data"])
        return splits.test if own else splits.foreign

    def check_data(self, splits: Splits) -> None:
        """Refuse data other than the run's own."""
        recorded = self.environment["data"]
        parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        for name, images in parts.items():
            if images.sha256 != recorded[f"{name}_sha256"]:
                raise DataError(
                    f"{self.path}: the {name} images differ from those of the run (SHA-256 "
                    f"{images.sha256[:12]}, recorded {recorded[f'{name}_sha256'][:12]})"
                )

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Put a JSON file into the run's folder, whole or not at all."""
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        replace_durably(self.path / name, text.encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """What `write_json` put there; empty where there is nothing that can be read."""
        try:
            return dict(json.loads((self.path / name).read_text("utf-8")))
        except (OSError, ValueError):
            return {}

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep other processes from training the same run.

        Raises:
            UsageError: another process is at it.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise UsageError(f"{self.path}: another process is training this run") from None
        finally:
            os.close(handle)

    def _advice(self, damaged: Path) -> str:
        for which in ("last", "last.previous", "best", "best.previous"):
            folder = self.checkpoint(which)
            if folder != damaged and folder.exists():
                return f"; use --checkpoint {which}, or train again"
        return "; train again"


def _row(line: str) -> dict[str, Any] | None:
    """A row of `metrics.jsonl`; None for one that a crash cut short."""
    try:
        row = json.loads(line)
        return row if "epoch" in row else None
    except (ValueError, TypeError):
        return None


def _checked(path: str | Path) -> Path:
    """The path, if it can be a folder's name at all."""
    if "\0" in str(path):
        raise UsageError("the name of a run must not contain a NUL character")
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in Path(path).parts):
        raise UsageError(f"the name of a run must have at most {MAX_NAME_BYTES} bytes")
    return Path(path)
