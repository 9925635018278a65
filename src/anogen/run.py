"""One run's folder, which explains itself.

- `config.yaml`: everything that made it; `anogen train --config` repeats it
- `environment.json`: versions, device, precision, hashes of the data
- `columns.json`: of a table, what its columns hold and how its rows become numbers
- `metrics.jsonl`: one line per epoch
- `samples/`: new images after each epoch, always of the same latents
- `checkpoints/`: `last`, `best` and the predecessor of each, with a manifest
- `figures/`: pictures, and lists of them with their captions
- `detector/`: a folder for each score with which it was calibrated
- `evaluation.json`: what `anogen evaluate` measured
- `detection.json`: what `anogen detect` measured
- `approved.npy`: examples that `anogen refresh` was given
- `service.sqlite`: what `anogen serve` has scored, verdicts, and the watch
- `report.html`: the page

A run may come from anybody: whatever it holds is data. See SECURITY.md.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from anogen.checkpoint import hash_of_tensors, load_checkpoint, previous_of
from anogen.configuration import load_yaml
from anogen.data.catalog import base_of, load_data
from anogen.data.columns import Columns
from anogen.data.datasets import DATASETS
from anogen.data.images import Images
from anogen.data.pictures import Pictures
from anogen.data.splits import FALSE_POSITIVE_RATE, Splits
from anogen.data.tables import TABLE_SUFFIXES, Table
from anogen.device import memory_advice
from anogen.durable import (
    locked,
    make_folder,
    parse_json,
    read_regular,
    replace_durably,
    writer_mark,
)
from anogen.errors import (
    AnogenError,
    DataError,
    MachineError,
    UsageError,
    finite_numbers,
    first_line,
)
from anogen.models import rebuild
from anogen.models.base import GenerativeModel, Model
from anogen.models.sampling import load_sampler
from anogen.progress import silence

MAX_NAME_BYTES = 255
PICTURE_OPTIONS = ("image_size", "resize", "background", "bits")
TABLE_OPTIONS = ("label_column", "normal_label", "columns", "encoding")
DATA_OPTIONS = (
    "data", "data_dir", "channels", "group", "false_positive_rate", "limit", "pairs", "balance",
    *PICTURE_OPTIONS, *TABLE_OPTIONS,
)  # fmt: skip
"""The keys of `config.yaml` that are arguments of `load_data`."""


@dataclass(frozen=True)
class Run:
    """A training run in a folder; `Run.open(path)` for an existing one.

    Attributes:
        path: of the folder, absolute, so that the run stays what it is when the working folder
            changes.

    Examples:
        >>> Run.open("no/such/run")
        Traceback (most recent call last):
        anogen.errors.UsageError: no/such/run: there is no run (no config.yaml in it)
    """

    path: Path

    def __post_init__(self) -> None:
        given: Any = self.path
        if not isinstance(given, Path):
            raise UsageError(f"open a run with anogen.Run.open({self.path!r})")

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
        aside = run.path.with_name(f".{writer_mark()}.new")
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
        try:
            above = next(folder for folder in run.path.parents if folder.exists())
        except OSError as error:
            raise MachineError(f"{run.path}: cannot be made ({error.strerror})") from error
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
        try:
            there = (run.path / "config.yaml").is_file()
        except OSError as error:
            raise MachineError(f"{path}: cannot be read ({error.strerror})") from error
        if not there:
            raise UsageError(f"{path}: there is no run (no config.yaml in it)")
        return run

    def inside(self, *parts: str) -> Path:
        """A path within the run's folder.

        Raises:
            MachineError: it leads out of the folder, as a link may; what a run from elsewhere names
                there is neither read nor written.
        """
        path = self.path.joinpath(*parts)
        try:
            target = path.resolve()
            circle = target.is_symlink()  # from Python 3.13 on `resolve` stops there and is silent
            within = target.is_relative_to(self.path.resolve()) and not circle
        except (OSError, RuntimeError, ValueError):  # links in a circle, a NUL character
            within = False
        if not within:
            raise MachineError(
                f"{path}: leads out of the run's folder, where nothing is read or written for it; "
                "if that is a link of your own, put the files themselves there"
            )
        return path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def shown(self) -> str:
        """The path as people write it: from the working folder, where the run lies below it."""
        try:
            return str(self.path.relative_to(Path.cwd()))
        except (ValueError, OSError):
            return str(self.path)

    @property
    def config(self) -> dict[str, Any]:
        """What made the run, as `config.yaml` has it.

        Raises:
            UsageError: the file is damaged.
        """
        path = self.inside("config.yaml")
        config = load_yaml(path)
        model, data, epochs = config.get("model"), config.get("data"), config.get("epochs")
        if not (
            isinstance(model, dict)
            and isinstance(model.get("class_path"), str)
            and isinstance(model.get("init_args", {}), dict)
            and (data is None or (isinstance(data, str) and data))
            and type(epochs) is int
        ):
            raise UsageError(
                f"{path}: not a valid configuration of a run, with model, data and epochs; it is "
                "damaged"
            )
        return config

    @property
    def false_positive_rate(self) -> float:
        """For which its validation images were held out."""
        rate = self.config.get("false_positive_rate")
        return rate if isinstance(rate, float) and 0 < rate < 1 else FALSE_POSITIVE_RATE

    @property
    def pictures(self) -> Pictures:
        """How the run's pictures were read, and new ones are: its size, its colours."""
        config, channels = self.config, self.environment["data"]["shape"][0]
        given = {key: config[key] for key in PICTURE_OPTIONS if config.get(key) is not None}
        return Pictures(**given, channels=channels if channels in (1, 3) else None)

    @property
    def columns(self) -> Columns | None:
        """Of a run of a table: what its columns hold.

        Raises:
            MachineError: the file is damaged.
        """
        content = self.read_json("columns.json")
        if not content:
            return None
        try:
            return Columns.of_content(content)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            path = self.inside("columns.json")
            raise MachineError(f"{path}: damaged ({first_line(error)})") from error

    @property
    def environment(self) -> dict[str, Any]:
        """Where it ran and on which data, as `environment.json` has it.

        Raises:
            MachineError: the file is missing or damaged.
        """
        path = self.inside("environment.json")
        recorded = parse_json(read_regular(path), path)
        data = recorded.get("data")
        if not (
            isinstance(data, dict)
            and isinstance(data.get("name"), str)
            and _is_shape(data.get("shape"))
            and isinstance(data.get("classes", []), list)
            and all(isinstance(name, str) for name in data.get("classes", []))
            and isinstance(recorded.get("precision", "float32"), str)
        ):
            raise MachineError(f"{path}: damaged, it does not say what data the run is of")
        return recorded

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One row per finished epoch, first to last; what a crash has cut short is left out.

        Raises:
            MachineError: a row holds other things than numbers.
        """
        path = self.inside("metrics.jsonl")
        if not path.exists():
            return []
        lines = read_regular(path).decode("utf-8", "replace").splitlines()
        rows = [row for row in map(_row, lines) if row is not None]
        for row in rows:
            if not all(
                isinstance(value, int | float) and abs(value) < 1e300 and name.isidentifier()
                for name, value in row.items()
            ):
                raise MachineError(f"{path}: damaged, not all of epoch {row['epoch']} is numbers")
        return rows

    @property
    def figures(self) -> Path:
        """The folder of pictures, made where it is missing."""
        return make_folder(self.inside("figures"))

    @property
    def sampler(self) -> Path:
        """The folder of the sampler that was fitted after training, if there is one."""
        return self.inside("sampler")

    @property
    def store(self) -> Path:
        """Where a service keeps what it has scored, unless it is told otherwise."""
        return self.inside("service.sqlite")

    def detector(self, score: str) -> Path:
        """The folder of the detector with a score, whether it is there or not."""
        return self.inside("detector", score)

    def forget_detectors(self, but: str) -> None:
        """Remove all detectors but the one with a score: they are made again when needed."""
        folder = self.inside("detector")
        for each in folder.iterdir() if folder.is_dir() else ():
            if each.name != but:
                shutil.rmtree(self.inside("detector", each.name), ignore_errors=True)

    def checkpoint(self, which: str) -> Path:
        """The folder of a checkpoint: `last`, `best` or `last.previous`."""
        if Path(which).name != which:
            raise UsageError(f"checkpoint {which!r}: choose best, last or last.previous")
        return self.inside("checkpoints", which)

    @property
    def is_writable(self) -> bool:
        """Whether files can be made in the run's folder."""
        return os.access(self.path, os.W_OK | os.X_OK)

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
            folder = self.checkpoint(previous_of(folder).name)
        try:
            return load_checkpoint(folder, stems)
        except MachineError as error:
            raise MachineError(f"{error}{self._advice(folder)}") from error

    def load_model(self, checkpoint: str | None = None, *, allow_code: bool = False) -> Model:
        """The trained model in evaluation mode, on the processor, with its sampler.

        Args:
            checkpoint: `best` or `last`, or `last.previous` for the one before it; default: the
                best one where there is one.
            allow_code: import the module of a model that is not anogen's own, which runs its code;
                only for a run that you trust.

        Raises:
            UsageError: the model is not anogen's own, and `allow_code` is not given.
            MachineError: no checkpoint yet, or a damaged one.
            TrainingError: memory does not suffice for the model.
        """
        which = self.chosen(checkpoint)
        tensors, state = self.load_state(which, ("weights",))
        if not all(bool(w.isfinite().all()) for w in tensors["weights"].values()):
            raise MachineError(f"{self.checkpoint(which)}: a weight is not finite; train again")
        try:
            with memory_advice("the model is too large for this machine"):
                model = rebuild(state["model"], tensors["weights"], allow_code)
                if isinstance(model, GenerativeModel):
                    model.sampler = load_sampler(self.sampler, hash_of_tensors(tensors["weights"]))
                return model
        except AnogenError:
            raise
        except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            folder = self.checkpoint(which)
            raise MachineError(
                f"{folder}: does not describe a model with these weights "
                f"({first_line(error)}){self._advice(folder)}"
            ) from error

    def epoch_of(self, checkpoint: str | None = None) -> int:
        """After how many epochs the weights of a checkpoint were kept; default as `load_model`."""
        which = self.chosen(checkpoint)
        _, state = self.load_state(which, ())
        try:
            return int(state["counters"]["epoch"])
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            folder = self.checkpoint(which)
            raise MachineError(f"{folder}: damaged state.json{self._advice(folder)}") from error

    def chosen(self, checkpoint: str | None) -> str:
        """The checkpoint that was asked for, or `best` where there is one, or `last`."""
        return checkpoint or ("best" if self.checkpoint("best").exists() else "last")

    def load_data(self, data_dir: str | Path | None = None) -> Splits:
        """The data that the run was trained on, from where it was then or from `data_dir`.

        Raises:
            DataError: it came from arrays in memory, or has changed since.
        """
        config = self.config
        if not config["data"]:
            raise DataError(f"{self.path}: was trained on arrays in memory; give them again, "
                            "as in anogen.load(run, data=data)")  # fmt: skip
        source: dict[str, Any] = {key: config[key] for key in DATA_OPTIONS if key in config}
        if data_dir is not None:
            source["data_dir"] = data_dir
        with silence() if self.columns is not None else nullcontext():  # training has said it all
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
        columns = self.columns
        other = columns is not None and base != base_of(self.config["data"] or "")
        if columns is not None and other and Path(base).suffix.lower() in TABLE_SUFFIXES:
            images = columns.images_of(Table.open(base, columns.encoding))
            return replace(images, name=Path(base).stem)
        plain = base in (*DATASETS, "auto") or Path(base).is_file()
        keys = ("limit",) if plain else ("limit", *PICTURE_OPTIONS)
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
            before = str(recorded.get(f"{name}_sha256"))
            if images.sha256 != before:
                raise DataError(
                    f"{self.path}: the {name} images differ from those of the run (SHA-256 "
                    f"{images.sha256[:12]}, recorded {before[:12]})"
                )

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Put a JSON file into the run's folder atomically."""
        finite_numbers(content, name)
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        replace_durably(self.inside(name), text.encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """What `write_json` put there; empty where there is nothing.

        Raises:
            MachineError: the file is damaged.
        """
        path = self.inside(name)
        if not path.exists():
            return {}
        try:
            return parse_json(read_regular(path), path)
        except MachineError as error:
            raise MachineError(f"{error}; remove it and measure again") from error

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep other processes from training the same run.

        Raises:
            UsageError: another process is at it.
        """
        busy = f"{self.path}: another process is training this run"
        with locked(self.inside(".lock"), busy):
            yield

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
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("epoch")) is int else None


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(size) is int and size > 0 for size in value)
    )


def _checked(path: str | Path) -> Path:
    """The absolute path, if it can be a folder's name at all."""
    given: Any = path
    if not isinstance(given, str | os.PathLike):
        raise UsageError(f"the name of a run is the path of its folder, found {path!r}")
    if not str(path):
        raise UsageError("the name of a run is empty; give the path of its folder")
    if "\0" in str(path):
        raise UsageError("the name of a run must not contain a NUL character")
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in Path(path).parts):
        raise UsageError(f"the name of a run must have at most {MAX_NAME_BYTES} bytes")
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100  (Path.absolute keeps "..")
    except OSError as error:
        raise MachineError(
            f"{path}: the working folder is gone ({error.strerror}); change to another, or give "
            "an absolute path"
        ) from error
