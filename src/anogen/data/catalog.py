"""Data by name or path: found, fetched, split."""

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from anogen.data.column import Kind
from anogen.data.corruptions import corrupt
from anogen.data.datasets import DATASETS, Bundled, Drawn, Published
from anogen.data.domains import alone, balanced, brought_together, side_by_side
from anogen.data.download import download, md5_of
from anogen.data.files import holds_pictures, is_folder, load_path
from anogen.data.pictures import Background, Pictures, Resize
from anogen.data.splits import FALSE_POSITIVE_RATE, Splits, images_for, split
from anogen.data.table_files import TableOptions, load_table
from anogen.errors import (
    DataError,
    MachineError,
    UsageError,
    true_or_false,
    unknown_name,
    whole_number,
)
from anogen.folders import cache_dir
from anogen.progress import say

DATA_DIR_VARIABLE = "ANOGEN_DATA_DIR"
MAX_NAME = 5000
HELD_OUT = 1 / 12
"""Of training images, for validation, where there are test images."""


def load_data(
    data: str | Path = "auto",
    *,
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    resize: Resize = "stretch",
    channels: int | None = None,
    background: Background = "white",
    bits: int | None = None,
    group: str | None = None,
    label_column: str | None = None,
    normal_label: str | None = None,
    columns: dict[str, Kind] | None = None,
    encoding: str | None = None,
    false_positive_rate: float = FALSE_POSITIVE_RATE,
    limit: int | None = None,
    pairs: str | None = None,
    balance: bool = False,
) -> Splits:
    """The training, validation and test images, or rows, of a data set.

    Args:
        data: `mnist`, `fashion-mnist`, `usps`, `digits`, `shapes`, `digits-scenes`,
            `mnist-scenes`, `creditcard`, or a path to a
            folder of pictures (PNG, JPEG, BMP, TIFF or WebP), a `.npy` or `.npz` array, an IDX
            file, or a table (`.csv`, `.tsv` or `.parquet`, with the names of the columns); `auto`
            takes MNIST where it can be found or fetched, else digits. `+transformation` may follow,
            several times: `mnist+blur`, `digits+rotation=45`. Several with commas between them,
            `usps,mnist`, stand side by side as domains: brought to one size, then transformed, with
            their names as labels.
        data_dir: where data sets lie (one folder each); default: the variable ANOGEN_DATA_DIR,
            else the user's cache folder, to which missing ones are downloaded.
        image_size: height and width to bring a folder's pictures to; default: their own.
        resize: `stretch` ignores the aspect ratio of pictures, `crop` keeps their centre, `pad`
            keeps all of them and fills up with the background.
        channels: 1 reads pictures as grey, 3 as RGB; default: grey where all are grey.
        background: what shows through transparent pixels of pictures, and beside padded ones:
            `white`, `grey` or `black`.
        bits: significant bits of 16-bit pictures, for cameras that fill 10 or 12 of them; default:
            all 16, with a warning where that loses grey levels.
        group: keeps pictures of one thing in one part: the name of a column of the folder's
            metadata file, or a regular expression of which the first match in the path of a picture
            (its parts in brackets, where there are any) names the thing, such as `part[0-9]+`.
        label_column: of a table, the name of the column that says which rows are anomalies.
            Nothing is learnt from it, nor from these rows; they are kept for `anogen detect`.
        normal_label: of a table, the label of rows that are normal; default: 0, false, no, normal
            and the like.
        columns: of a table, what a column is to be taken as, where it is not what it seems to be:
            its name with `number`, `category`, `date` or `ignored`.
        encoding: of a table in text, such as `latin-1`; default: UTF-8.
        false_positive_rate: for which a detector will be calibrated. Validation gets the images
            that this needs (99 for 0.01), where they are a fifth of all or less.
        limit: for a quick try, keep this many training images, and as large a share of the others;
            they are taken at even distances.
        pairs: what says that pictures of several domains show the same thing: `names` (of files,
            of a folder whose sub-folders are domains), the name of a column of its metadata file,
            or `order` of data sets side by side.
        balance: repeat the training images of smaller classes, or domains, until all have as many.

    Returns:
        uint8 images, split with a fixed seed: where the source names no test images, 10 % are
        test and 10 % validation; else 1/12 of the training images are validation (5,000 of
        MNIST's 60,000).

    Raises:
        UsageError: no such name or path.
        DataError: the files are missing and cannot be fetched, or are damaged.

    Examples:
        >>> from anogen import load_data
        >>> digits = load_data("digits")
        >>> digits.shape, len(digits.train), len(digits.test)
        ((1, 28, 28), 1437, 180)
    """
    source = {
        "data": str(data),
        "image_size": image_size,
        "resize": resize,
        "channels": channels,
        "background": background,
        "bits": bits,
        "group": group,
        "label_column": label_column,
        "normal_label": normal_label,
        "columns": columns,
        "encoding": encoding,
        "false_positive_rate": false_positive_rate,
        "limit": limit,
        "pairs": pairs,
        "balance": balance,
        "data_dir": None if data_dir is None else str(Path(data_dir).resolve()),
    }
    given: list[Any] = [data, data_dir]  # of any type, where they come from a file
    if not all(isinstance(path, str | Path | None) for path in given):
        raise UsageError(f"data and data_dir are names or paths, found {data!r} and {data_dir!r}")
    if not str(data):
        raise UsageError("data is empty; give the name of a data set or a path")
    if data_dir is not None and not (str(data_dir) and is_folder(Path(data_dir))):
        raise DataError(f"{str(data_dir)!r}: there is no such folder, named as data_dir")
    if len(str(data)) > MAX_NAME:
        raise UsageError(f"data: a name of {len(str(data)):,} characters is none")
    if limit is not None:
        whole_number("limit", limit)
    true_or_false("balance", balance)
    for option, value in (("group", group), ("pairs", pairs)):
        text: Any = value
        if text is not None and not isinstance(text, str):
            raise UsageError(f"{option} is text, found {text!r}; see anogen.load_data")
    images_for(false_positive_rate)  # refused before anything is read
    sides = _sides(str(data))
    if len(sides) > 1:
        domains, source["data"] = _load_sides(sides, source)
        splits = side_by_side(domains, pairs)
    else:
        splits, source["data"] = _load_one(str(data), source)
    if balance:
        splits = replace(splits, train=balanced(splits.train))
    return replace(splits, source=source)


def _load_one(data: str, source: dict[str, Any]) -> tuple[Splits, str]:
    """One data set with its transformations, and what finds it again; for `source` see there."""
    splitting = {"false_positive_rate": source["false_positive_rate"]}
    pictures = Pictures(
        **{field.name: source[field.name] for field in fields(Pictures) if field.init}
    )
    table = TableOptions(**{field.name: source[field.name] for field in fields(TableOptions)})
    data_dir, for_folders = source["data_dir"], {k: source[k] for k in ("group", "pairs")}
    name, corruptions = _parse(data)
    if name == "auto":
        splits = _load_best(data_dir, splitting)
        data = "+".join([splits.name, *corruptions])
    elif name in DATASETS:
        splits = _load_named(name, data_dir, splitting)
    elif _exists(name):
        splits = load_path(Path(name), pictures, table=table, **for_folders, **splitting)
        data = "+".join([str(Path(name).resolve()), *corruptions])
    elif any(mark in name for mark in "/\\."):
        raise DataError(f"{name}: no such file or folder")
    else:
        raise UsageError(
            f"{unknown_name('data set', name, [*DATASETS, 'auto'])}, and there is no file or "
            "folder of that name"
        )
    if name in (*DATASETS, "auto") and (
        pictures != Pictures(resize=pictures.resize) or any(for_folders.values())
    ):
        raise UsageError(
            f"{name}: image_size, channels, background, bits, group and pairs apply to folders of "
            "pictures only"
        )
    if name in (*DATASETS, "auto") and table != TableOptions():
        raise UsageError(
            f"{name}: label_column, normal_label, columns and encoding apply to tables only"
        )
    if corruptions and splits.columns is not None:
        raise UsageError(f"{name}: transformations are for images, not for tables")
    if source["limit"] is not None:
        splits = splits.limited(source["limit"])
    return _transformed(splits, corruptions), data


def _transformed(splits: Splits, corruptions: list[str]) -> Splits:
    for corruption in corruptions:
        splits = replace(
            splits,
            train=corrupt(splits.train, corruption),
            validation=corrupt(splits.validation, corruption, seed=1),
            test=corrupt(splits.test, corruption, seed=2),
        )
    return splits


def _load_sides(sides: list[str], source: dict[str, Any]) -> tuple[list[Splits], str]:
    """Several data sets brought to one size and transformed, and what finds them again."""
    loaded: list[Splits] = []
    found: list[str] = []
    for side in sides:
        name, corruptions = _parse(side)
        own = {**source, "pairs": None, "limit": None}
        if name in (*DATASETS, "auto") or not holds_pictures(Path(name)):  # have their own size
            own |= {**Pictures(resize=source["resize"]).settings, "group": None}
        splits, data = _load_one(name, own)
        loaded.append(splits)
        found.append("+".join([data, *corruptions]))
    brought = brought_together(loaded, source["image_size"], source["channels"])
    limit, total = source["limit"], sum(len(splits.train) for splits in loaded)
    if limit is not None and limit < total:
        shares = [max(10, round(limit * len(splits.train) / total)) for splits in loaded]
        brought = [splits.limited(n) for splits, n in zip(brought, shares, strict=True)]
    return [_transformed(splits, _parse(side)[1])
            for splits, side in zip(brought, sides, strict=True)], ",".join(found)  # fmt: skip


def load_domains(data: Splits) -> list[Splits]:
    """Each domain of a data set alone, in the size and colours of all, in the order of its labels.

    Those of data sets that stood side by side have the labels that they have by themselves; others
    have none.

    Args:
        data: from `load_data`, the domains as labels.

    Raises:
        DataError: it has no labels.
    """
    if data.train.labels is None:
        raise DataError(f"{data.name}: has no labels, and so no domains")
    sides = _sides(str(data.source.get("data", "")))
    if len(sides) > 1:
        return _load_sides(sides, dict(data.source))[0]
    if data.source.get("balance"):  # without what is repeated
        data = _load_one(sides[0], dict(data.source))[0]
    return [alone(data, number) for number in range(len(data.train.classes))]


def find(name: str, data_dir: str | Path | None = None) -> Path | None:
    """The folder that holds all files of a published data set, or None."""
    source = DATASETS[name]
    assert isinstance(source, Published)
    for folder in _places(data_dir):
        if all(_stored(folder / name, file).is_file() for file in source.md5):
            return folder / name
    return None


def damaged_files(name: str, folder: Path) -> list[str]:
    """Names of the files whose MD5 sum is not the published one; unzipped ones have none."""
    source = DATASETS[name]
    assert isinstance(source, Published)
    zipped = {file: md5 for file, md5 in source.md5.items() if (folder / file).is_file()}
    return [file for file, md5 in zipped.items() if md5_of(folder / file) != md5]


def fetch(name: str, data_dir: str | Path | None = None, tries: int = 3) -> Path:
    """Download what is missing of a published data set; returns its folder.

    Every file is checked against its published MD5 sum before it gets its name. Each mirror is
    tried in turn, and all of them `tries` times.

    Raises:
        DataError: no mirror gave the file; the message says how to place it by hand.
    """
    source = DATASETS[name]
    assert isinstance(source, Published)
    places = _places(data_dir)
    if not places:
        raise DataError(
            f"{name} cannot be downloaded, because this user has no home folder for it; set "
            f"{DATA_DIR_VARIABLE} or data_dir to a folder"
        )
    folder = places[0] / name
    for file, md5 in source.md5.items():
        if not (folder / file).is_file() or md5_of(folder / file) != md5:
            download(source.mirrors, file, md5, folder, tries)
    return folder


def _places(data_dir: str | Path | None) -> list[Path]:
    """Where to look, in order; a folder that is named comes first and is where downloads go."""
    named, cache = data_dir or os.environ.get(DATA_DIR_VARIABLE), cache_dir()
    return [*([Path(named)] if named else []), *([cache] if cache else [])]


def base_of(data: str | Path) -> str:
    """The name or absolute path of data without its transformations: the same for the same data.

    >>> base_of("mnist+blur+rotation=45")
    'mnist'
    """
    names = [_parse(side)[0] for side in _sides(str(data))]
    known = (*DATASETS, "auto")
    return ",".join(name if name in known else str(Path(name).resolve()) for name in names)


def _sides(data: str) -> list[str]:
    """The data sets that stand side by side; paths that exist may themselves hold commas."""
    parts = data.split(",")
    sides: list[str] = []
    while parts:
        ends = range(len(parts), 1, -1)
        long = (end for end in ends if "," in (name := _parse(",".join(parts[:end]))[0])
                and name.count(",") == end - 1 and _exists(name))  # fmt: skip
        end = next(long, 1)
        sides.append(",".join(parts[:end]).strip())
        if not sides[-1] and data:
            raise UsageError(f"data {data!r}: there is nothing beside one of its commas")
        parts = parts[end:]
    return sides


def _parse(data: str) -> tuple[str, list[str]]:
    """Name or path, and transformations; a path that exists may itself hold a plus sign."""
    parts = data.split("+")
    for count in range(len(parts), 0, -1):
        if _exists("+".join(parts[:count])):
            return "+".join(parts[:count]), parts[count:]
    return parts[0], parts[1:]


def _exists(name: str) -> bool:
    """Whether there is something at a path that this user can see."""
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):  # too long, in a closed folder, with a NUL character
        return False


def _load_best(data_dir: str | Path | None, splitting: dict[str, Any]) -> Splits:
    try:
        return _load_named("mnist", data_dir, splitting, tries=1)
    except (DataError, MachineError) as error:
        reason = str(error).split(" Tried ")[0]
        say(f"using scikit-learn's bundled digits instead of MNIST: {reason}")
        return _load_named("digits", data_dir, splitting)


def _load_named(
    name: str, data_dir: str | Path | None, splitting: dict[str, Any], tries: int = 3
) -> Splits:
    source = DATASETS[name]
    if isinstance(source, Bundled):
        train, test = source.load()
        return split(train, test, **({} if test is None else {"held_out": HELD_OUT}), **splitting)
    if isinstance(source, Drawn):
        digits = _load_named(source.of, data_dir, {}, tries)
        train, test = source.draw(digits.train, digits.test)
        return split(train, test, held_out=HELD_OUT, **splitting)
    folder = find(name, data_dir) or fetch(name, data_dir, tries)
    damaged = damaged_files(name, folder)
    if damaged:
        raise DataError(
            f"{folder / damaged[0]}: is not the published file of {name} (MD5); repair it with "
            f"anogen data {name} --fetch, or give the folder's path to use it as it is"
        )
    if source.label_column is not None:
        (file,) = source.md5
        return load_table(folder / file, TableOptions(source.label_column), **splitting)
    files = [_stored(folder, file) for file in source.md5]
    train, test = source.read(files, name, source.classes)
    return split(train, test, held_out=HELD_OUT, **splitting)


def _stored(folder: Path, file: str) -> Path:
    """The file, or the same unzipped where only that is there."""
    unzipped = folder / file.removesuffix(".gz")
    return unzipped if unzipped.is_file() and not (folder / file).is_file() else folder / file
