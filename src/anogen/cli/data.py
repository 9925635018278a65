"""`anogen data`: what data sets there are, where they lie, and what a path is taken for."""

import json
from typing import Any

from anogen.cli.options import new_parser
from anogen.errors import DataError, UsageError
from anogen.progress import show

DESCRIPTION = """List data sets, where they lie and whether their checksums hold; fetch them; or say
what a path is taken for, and how it is split.

  anogen data
  anogen data fashion-mnist --fetch
  anogen data my/pictures --image_size 64 --group "part[0-9]+"
  anogen data usps,mnist                                  two data sets side by side, as domains
  anogen data payments.csv --label_column is_fraud        what each column is taken for

Wherever a data set is named, a path serves as well: a folder of pictures, a .npy or .npz array, an
IDX file, a table (.csv, .tsv, .parquet). A transformation may follow the name: mnist+blur. Several
with commas between them stand side by side. Folders may be laid out so:
"""


def main(arguments: list[str]) -> int:
    """List or fetch; 3 where a listed file is damaged."""
    from anogen.data.catalog import load_data
    from anogen.data.layouts import LAYOUTS

    layouts = "\n".join(f"  {name}: {layout.looks}" for name, layout in LAYOUTS.items())
    parser = new_parser("data", DESCRIPTION + layouts, "[NAME]")
    parser.add_argument("name", nargs="?", help="one data set, or a path; default: all")
    parser.add_argument("--fetch", action="store_true", help="download what is missing or damaged")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_function_arguments(load_data, skip={"data"})
    options = parser.parse(arguments)
    name, data_dir, as_json = options.pop("name"), options["data_dir"], options.pop("json")
    fetching = options.pop("fetch")
    from anogen.data.catalog import fetch
    from anogen.data.datasets import DATASETS, Published

    given = {key for key, value in options.items() if value != parser.get_default(key)}
    if name is not None and (name not in DATASETS or given - {"data_dir"}):
        if fetching:
            raise UsageError(f"{name}: --fetch is for a data set that has a name, without options")
        return _show_path(name, options, as_json)
    names = [name] if name else list(DATASETS)
    if fetching:
        for each in names:
            if isinstance(DATASETS[each], Published):
                fetch(each, data_dir)
    rows = [_describe(each, data_dir) for each in names]
    if as_json:
        show(json.dumps({"data_sets": rows, "transformations": _transformations()}))
    else:
        _print(rows, everything=name is None)
    damaged = [file for row in rows for file in row["damaged"]]
    if damaged:
        raise DataError(f"damaged: {', '.join(damaged)}; repair with anogen data --fetch")
    return 0


def _show_path(path: str, options: dict[str, Any], as_json: bool) -> int:
    """What `load_data` makes of a path, or of a name with transformations."""
    from anogen.data.catalog import load_data

    data = load_data(path, **options)
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    about: dict[str, Any] = {
        "name": data.name,
        "shape": list(data.shape),
        "classes": list(data.train.classes),
        **{part: len(images) for part, images in parts.items()},
    }
    if data.columns is not None:
        about["columns"] = {column.name: column.shown() for column in data.columns.columns}
    if data.anomalies is not None:
        about["anomalies"] = len(data.anomalies)
    if data.train.captions is not None:
        about["captions"] = sum(map(len, data.train.captions))
        about["a caption"] = next((text for texts in data.train.captions for text in texts), "")
    columns = {} if as_json else about.pop("columns", {})
    lines = [f"{name:<11} {value}" for name, value in about.items()]
    lines += ["columns:"] * bool(columns)
    lines += [f"  {name:<14} {value}" for name, value in columns.items()]
    show(json.dumps(about) if as_json else "\n".join(lines))
    data.warn()
    return 0


def _describe(name: str, data_dir: str | None) -> dict[str, Any]:
    from anogen.data.catalog import damaged_files, find
    from anogen.data.datasets import DATASETS, Drawn, Published

    source = DATASETS[name]
    row: dict[str, Any] = {"name": name, "title": source.title, "damaged": []}
    if isinstance(source, Drawn):
        return _describe(source.of, data_dir) | row | {"path": f"drawn from {source.of}"}
    if not isinstance(source, Published):
        return row | {"path": "needs no download", "status": "ready"}
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
