"""`anogen data`: what data sets there are, where they lie, and whether they are whole."""

import argparse
import json
from typing import Any

from anogen.errors import DataError, UsageError
from anogen.progress import show

DESCRIPTION = """List data sets, where they lie and whether their checksums hold; fetch them.

  anogen data
  anogen data fashion-mnist --fetch

Wherever a data set is named, a path serves as well: a folder of pictures (PNG, JPEG, BMP, TIFF or
WebP; sub-folders are labels), a .npy or .npz array, an IDX file. A transformation may follow the
name: mnist+blur."""


class _Parser(argparse.ArgumentParser):
    """The standard parser: this command has few options and must start at once."""

    def error(self, message: str) -> Any:
        raise UsageError(message)

    def format_help(self) -> str:
        """An example, what the command does, then the usage and every option."""
        return f"Example: anogen data\n\n{DESCRIPTION}\n\n{super().format_help()}"


def main(arguments: list[str]) -> int:
    """List or fetch; 3 where a listed file is damaged."""
    parser = _Parser("anogen data")
    parser.add_argument("name", nargs="?", help="one data set, or a path; default: all")
    parser.add_argument("--fetch", action="store_true", help="download what is missing or damaged")
    parser.add_argument("--data_dir", "--data-dir", help="where data sets lie, one folder each; "
                        "default: $ANOGEN_DATA_DIR, else the cache")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    from anogen.data.catalog import DATASETS, fetch

    if options.name is not None and options.name not in DATASETS:
        return _show_path(options.name, options.data_dir, options.json)
    names = [options.name] if options.name else list(DATASETS)
    if options.fetch:
        for name in names:
            if name != "digits":
                fetch(name, options.data_dir)
    rows = [_describe(name, options.data_dir) for name in names]
    if options.json:
        show(json.dumps({"data_sets": rows, "transformations": _transformations()}))
    else:
        _print(rows, everything=options.name is None)
    damaged = [file for row in rows for file in row["damaged"]]
    if damaged:
        raise DataError(f"damaged: {', '.join(damaged)}; repair with anogen data --fetch")
    return 0


def _show_path(path: str, data_dir: str | None, as_json: bool) -> int:
    """What `load_data` makes of a path, or of a name with transformations."""
    from anogen.data.catalog import load_data

    data = load_data(path, data_dir=data_dir)
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    found = {
        "name": data.name,
        "shape": list(data.shape),
        "classes": list(data.train.classes),
        **{part: len(images) for part, images in parts.items()},
    }
    show(json.dumps(found) if as_json else "\n".join(f"{k:<11} {v}" for k, v in found.items()))
    return 0


def _describe(name: str, data_dir: str | None) -> dict[str, Any]:
    from anogen.data.catalog import DATASETS, IdxSource, damaged_files, find

    source = DATASETS[name]
    row: dict[str, Any] = {"name": name, "title": source.title, "damaged": []}
    if not isinstance(source, IdxSource):
        return row | {"path": "bundled with scikit-learn", "status": "ready"}
    folder = find(name, data_dir)
    if folder is None:
        return row | {"path": None, "status": "not here; anogen data --fetch downloads it"}
    damaged = [str(folder / file) for file in damaged_files(name, folder)]
    status = "damaged" if damaged else "ready, checksums hold"
    return row | {"path": str(folder), "status": status, "damaged": damaged}


def _transformations() -> dict[str, str]:
    from anogen.data.corruptions import CORRUPTIONS

    return {
        name: f"strength {entry.strength:g} ({entry.meaning})" if entry.meaning else ""
        for name, entry in CORRUPTIONS.items()
    }


def _print(rows: list[dict[str, Any]], everything: bool) -> None:
    for row in rows:
        show(f"{row['name']:<14} {row['title']}")
        show(f"{'':<14} {row['path'] or '-'}: {row['status']}")
    if everything:
        show("\ntransformations, as in mnist+blur or mnist+rotation=45:")
        for name, meaning in _transformations().items():
            show(f"  {name:<16} {meaning}".rstrip())
