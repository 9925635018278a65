"""What operators said of scored items, as pictures to learn from and as a labelled set."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path

from anogen.data.images import Images
from anogen.data.sources import fitting
from anogen.durable import make_folder, replace_durably
from anogen.errors import DataError, UsageError
from anogen.printable import cell
from anogen.progress import say
from anogen.run import Run
from anogen.serving.store import Store
from anogen.serving.tables import VERDICTS, Judged, Verdict

SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"BM": ".bmp", b"II*\0": ".tif",
            b"MM\0*": ".tif", b"RIFF": ".webp"}  # fmt: skip
"""By how a file begins."""
ITEM = re.compile(r"[0-9a-f]{20}-\d{1,7}")
"""Names that a service gives to items; others are none to make files of."""


def pictures_called(verdict: Verdict, where: str | Path, run: Run) -> Iterator[Images]:
    """The pictures of a run that operators called good or bad, as its model takes them.

    Args:
        verdict: which.
        where: the store.
        run: that scored them; others' are passed over.

    Raises:
        UsageError: the run is of a table.
        DataError: there is no store.
    """
    if run.columns is not None:
        raise UsageError("with a verdict on a row the row is not kept; give approved rows as files")
    store = Store.open(where, existing=True)
    shape = tuple(run.environment["data"]["shape"])
    pictures = run.pictures
    without = sum(each.verdict == verdict for each in store.verdicts(run.name))
    for judged, content in store.pictures(run.name):
        if judged.verdict != verdict:
            continue
        without -= 1
        try:
            pixels = pictures.read(Path(judged.item), content).transpose(2, 0, 1)
            yield Images(fitting(pixels, shape, judged.item)[None], "verdicts")
        except DataError as error:
            say(f"passed over: {error}")
    if without:
        say(f"{without} verdicts came without a picture, and are passed over")
    store.forget_connections()


def export_verdicts(where: str | Path, out: str | Path, model: str | None = None) -> Path:
    """Verdicts as a labelled set: folders `good` and `bad` with the pictures, and `verdicts.csv`.

    Args:
        where: the store.
        out: a folder.
        model: name of the run; None: all.

    Returns:
        The path of `verdicts.csv`.

    Raises:
        DataError: there is no store, or it is damaged.
        MachineError: it cannot be read, or written.
    """
    store = Store.open(where, existing=True)
    folder = make_folder(Path(out))
    files: dict[str, str] = {}
    for judged, content in store.pictures(model):
        if not (ITEM.fullmatch(judged.item) and judged.verdict in VERDICTS):
            raise DataError(f"{where}: {judged.item!r} is no name of an item; it is damaged")
        suffix = next((end for start, end in SUFFIXES.items() if content.startswith(start)), "")
        name = f"{judged.verdict}/{judged.item}{suffix or '.bin'}"
        make_folder(folder / judged.verdict)
        replace_durably(folder / name, content)
        files[judged.item] = name
    path = folder / "verdicts.csv"
    replace_durably(path, verdicts_csv(store, model, files).encode())
    store.forget_connections()
    return path


def verdicts_csv(
    store: Store, model: str | None = None, files: Mapping[str, str] | None = None
) -> str:
    """Verdicts as comma-separated values with a heading.

    Args:
        store: that has them.
        model: name of the run; None: all.
        files: item → name of its picture's file, for a column of its own.
    """
    text = io.StringIO()
    names = [each.name for each in fields(Judged)] + ([] if files is None else ["file"])
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for judged in store.verdicts(model):
        row = asdict(judged) | ({} if files is None else {"file": files.get(judged.item, "")})
        writer.writerow({k: cell(v) if isinstance(v, str) else v for k, v in row.items()})
    return text.getvalue()
