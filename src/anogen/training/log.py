"""What a run writes while it trains: metrics.jsonl always, TensorBoard on request."""

import json
from pathlib import Path
from typing import Any

from anogen.data.images import Pixels
from anogen.durable import replace_durably
from anogen.errors import MachineError
from anogen.run import Run

EpochMetrics = dict[str, Any]


class MetricsLog:
    """Appends one row per epoch; on resuming, rows after the checkpoint are dropped first.

    Args:
        run: the run.
        epoch: epochs that the checkpoint has finished.
        step: optimiser steps that the checkpoint has done.
        tensorboard: also write event files to `folder/tensorboard`.

    Raises:
        MachineError: TensorBoard was asked for and is not installed.
    """

    def __init__(self, run: Run, epoch: int, step: int, tensorboard: bool) -> None:
        self._path = run.inside("metrics.jsonl")
        kept = [json.dumps(row) for row in run.metrics if row["epoch"] <= epoch]
        replace_durably(self._path, "".join(f"{line}\n" for line in kept).encode())
        events = run.inside("tensorboard")
        self._tensorboard = _open_tensorboard(events, step) if tensorboard else None

    def write(self, row: EpochMetrics, samples: Pixels) -> None:
        """Append a row; TensorBoard also gets the samples, uint8 `[h, w, c]`."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise MachineError(f"{self._path}: cannot be written ({error.strerror})") from error
        if self._tensorboard is not None:
            for key, value in row.items():
                part, _, name = key.partition("_")
                tag = f"{name}/{part}" if part in ("train", "validation", "running") else key
                self._tensorboard.add_scalar(tag, value, row["step"])
            self._tensorboard.add_image("samples", samples, row["step"], dataformats="HWC")

    def close(self) -> None:
        """Flush what TensorBoard holds back."""
        if self._tensorboard is not None:
            self._tensorboard.close()


def _open_tensorboard(folder: Path, step: int) -> Any:
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)


def check_tensorboard() -> None:
    """Refuse early where TensorBoard is missing."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise MachineError("TensorBoard is not installed; pip install 'anogen[tensorboard]'")
