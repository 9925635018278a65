"""What a run writes while it trains: metrics.jsonl always, TensorBoard on request."""

import json
from pathlib import Path
from typing import Any

from anogen.checkpoint import replace_durably
from anogen.errors import MachineError

Row = dict[str, Any]


class MetricsLog:
    """Appends one row per epoch; on resuming, rows after the checkpoint are dropped first.

    Args:
        folder: the run's folder.
        epoch: epochs that the checkpoint has finished.
        tensorboard: also write event files to `folder/tensorboard`.

    Raises:
        MachineError: TensorBoard was asked for and is not installed.
    """

    def __init__(self, folder: Path, epoch: int, tensorboard: bool) -> None:
        self._path = folder / "metrics.jsonl"
        kept: list[str] = []
        if self._path.exists():
            lines = self._path.read_text("utf-8").splitlines()
            kept = [line for line in lines if _epoch(line) <= epoch]
        replace_durably(self._path, "".join(f"{line}\n" for line in kept).encode())
        self._tensorboard = _open_tensorboard(folder, epoch) if tensorboard else None

    def write(self, row: Row) -> None:
        """Append a row."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise MachineError(f"{self._path}: cannot be written ({error.strerror})") from error
        if self._tensorboard is not None:
            for key, value in row.items():
                part, _, name = key.partition("_")
                tag = f"{name}/{part}" if part in ("train", "validation", "running") else key
                self._tensorboard.add_scalar(tag, value, row["step"])

    def close(self) -> None:
        """Flush what TensorBoard holds back."""
        if self._tensorboard is not None:
            self._tensorboard.close()


def _epoch(line: str) -> float:
    """The epoch of a row; a line that a crash cut short belongs to no epoch that was kept."""
    try:
        return json.loads(line)["epoch"]
    except (ValueError, KeyError):
        return float("inf")


def _open_tensorboard(folder: Path, epoch: int) -> Any:
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=epoch)


def check_tensorboard() -> None:
    """Refuse early where TensorBoard is missing."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise MachineError("TensorBoard is not installed; pip install 'anogen[tensorboard]'")
