"""Folders of every layout, read as people mean them, and what is wrong with one said in a line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import anogen
from anogen.data.layouts import LAYOUTS, lay_out
from anogen.errors import DataError, UsageError


def draw(folder: Path, names: list[str], seed: int = 0) -> None:
    """Noise of 16×16, one picture for each name."""
    rng = np.random.default_rng(seed)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(path)


def test_captions_of_a_csv_file_are_read_with_labels(tmp_path, capsys):
    names = [f"{index:02}.png" for index in range(12)]
    draw(tmp_path, [*names, "unnamed.png"])
    rows = [f'{name},"a {i}, with a comma",{10 - i % 2}' for i, name in enumerate(names)]
    rows.append("00.png,once more,10")  # a second caption
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,text,label", *rows]), "utf-8")
    data = anogen.load_data(tmp_path)
    assert data.train.classes == ("9", "10")  # as numbers
    said = capsys.readouterr().err
    assert "12 pictures, with 2 classes and 13 captions" in said
    assert "1 of 13 pictures are not named in the metadata file" in said
    parts = (data.train, data.validation, data.test)
    texts = [text for part in parts for captions in part.captions for text in captions]
    assert len(texts) == 13
    whole = {
        tuple(c): part.pixels[i].tobytes() for part in parts for i, c in enumerate(part.captions)
    }
    first = np.asarray(Image.open(tmp_path / "00.png")).tobytes()
    assert whole["a 0, with a comma", "once more"] == first


def test_captions_of_a_jsonl_file_may_be_lists_and_are_part_of_the_hash(tmp_path):
    names = [f"{index:02}.png" for index in range(12)]
    draw(tmp_path, names)
    rows = [{"file_name": name, "text": [f"one {name}", "two"]} for name in names]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n", "utf-8")
    data = anogen.load_data(tmp_path)
    assert data.train.labels is None
    assert {len(captions) for captions in data.train.captions} == {2}
    before = data.train.sha256
    rows[0]["text"] = rows[5]["text"] = "another"
    for row in rows:
        row["text"] = "another"
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    assert anogen.load_data(tmp_path).train.sha256 != before
    assert len(data.train[:3].captions) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "names no picture"),
        ("name\na.png", "row 1 has no file_name"),
        ("file_name\nmissing.png", "names missing.png, which is not there"),
        ("file_name\n../a.png", "not in this folder"),
        ("file_name\n/etc/a.png", "not in this folder"),
        ("file_name\nnotes.txt", "which is not a PNG or JPEG"),
        ("file_name\n00.png,5,7", "more values than there are columns"),
        ("file_name,label\n00.png,a\n00.png,b", "has the label a and, in row 2, b"),
        ("file_name\n\xff\x00", "row 1 names"),
    ],
)
def test_metadata_that_is_wrong_is_said_with_its_row(tmp_path, content, message):
    draw(tmp_path, ["00.png"])
    (tmp_path / "metadata.csv").write_text(content, "utf-8")
    with pytest.raises(DataError, match=message):
        anogen.load_data(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"), ("[1]", "line 1 is no JSON object"),
        ('{"file_name": 5}', "no file_name"), ('{"file_name": "00.png", "text": [5]}', "no text"),
    ],
)  # fmt: skip
def test_json_that_is_wrong_is_said(tmp_path, content, message):
    draw(tmp_path, ["00.png"])
    (tmp_path / "metadata.jsonl").write_text(content, "utf-8")
    with pytest.raises(DataError, match=message):
        anogen.load_data(tmp_path)


def test_two_metadata_files_are_refused(tmp_path):
    draw(tmp_path, ["00.png"])
    for name in ("metadata.csv", "metadata.jsonl"):
        (tmp_path / name).write_text("file_name\n00.png\n")
    with pytest.raises(DataError, match="keep one of them"):
        anogen.load_data(tmp_path)


def test_splits_may_each_have_metadata(tmp_path):
    for part, count in (("train", 20), ("test", 5)):
        names = [f"{index}.png" for index in range(count)]
        draw(tmp_path / part, names)
        rows = ["file_name,text", *(f"{name},picture {name}" for name in names)]
        (tmp_path / part / "metadata.csv").write_text("\n".join(rows))
    data = anogen.load_data(tmp_path)
    assert len(data.test) == 5
    assert data.test.captions[0] == ("picture 0.png",)


def test_every_layout_is_found_in_a_folder_that_has_it(tmp_path):
    made = {
        "MVTec AD": ["train/good/0.png", "test/good/0.png", "test/crack/0.png"],
        "splits": ["train/0.png", "test/0.png"],
        "classes or flat": ["a/0.png", "b/0.png"],
        "metadata": ["0.png"],
    }
    assert made.keys() == LAYOUTS.keys()
    for name, pictures in made.items():
        draw(tmp_path / name, pictures)
        if name == "metadata":
            (tmp_path / name / "metadata.csv").write_text("file_name\n0.png\n")
        first = next(n for n, layout in LAYOUTS.items() if layout.find(tmp_path / name))
        assert first == name
        assert sum(len(part.files) for part in lay_out(tmp_path / name).parts.values()) in (1, 2)


def shown(images: anogen.Images) -> set[int]:
    """Which thing each image shows: the value of its first pixel."""
    return set(images.pixels[:][:, 0, 0, 0].tolist())


@pytest.mark.parametrize("group", ["part([0-9]+)_", "part[0-9]+", "which"])
def test_pictures_of_one_thing_stay_together(tmp_path, group, capsys):
    rng = np.random.default_rng(0)
    rows = ["file_name,which"]
    for thing in range(30):
        for view in range(4):
            pixels = rng.integers(0, 256, (16, 16), np.uint8)
            pixels[0, 0] = thing
            name = f"part{thing:02}_{view}.png"
            Image.fromarray(pixels).save(tmp_path / name)
            rows.append(f"{name},{thing}")
    if group == "which":
        (tmp_path / "metadata.csv").write_text("\n".join(rows))
    data = anogen.load_data(tmp_path, group=group)
    parts = [shown(part) for part in (data.train, data.validation, data.test)]
    assert len(set.union(*parts)) == 30
    assert sum(map(len, parts)) == 30
    assert [len(part) % 4 for part in (data.train, data.validation, data.test)] == [0, 0, 0]
    ungrouped = anogen.load_data(tmp_path)
    assert shown(ungrouped.train) & shown(ungrouped.test)
    capsys.readouterr()


def test_groups_that_cannot_be_are_refused(tmp_path, capsys):
    draw(tmp_path, [f"part{index % 2}_{index}.png" for index in range(20)])
    with pytest.raises(UsageError, match="not a regular expression"):
        anogen.load_data(tmp_path, group="part(")
    with pytest.raises(UsageError, match=r"found in no path .* such as part0_0\.png"):
        anogen.load_data(tmp_path, group="thing")
    with pytest.raises(DataError, match="2 groups cannot be split into 3 parts"):
        anogen.load_data(tmp_path, group="part[0-9]")
    for endless in ("(a+)+$", "(a|aa)+$", "([a-z]*)*b"):
        with pytest.raises(UsageError, match="may take for ever"):
            anogen.load_data(tmp_path, group=endless)
    with pytest.raises(UsageError, match="found 3"):
        anogen.load_data(tmp_path, group=3)
    anogen.load_data(tmp_path, group="part1_[0-9]+")
    assert "not found in 10 of 20 paths" in capsys.readouterr().err
    with pytest.raises(UsageError, match="folders of pictures only"):
        anogen.load_data("digits", group="a")


def test_a_group_in_two_parts_of_the_folder_is_said(tmp_path, capsys):
    for part in ("train", "test"):
        draw(tmp_path / part, [f"part{index}.png" for index in range(12)])
    anogen.load_data(tmp_path, group="part[0-9]+")
    assert "12 groups, such as 'part0', are in both train and test" in capsys.readouterr().err


def test_metadata_above_the_splits_names_pictures_in_them(tmp_path):
    names = [
        f"{part}/{index}.png" for part, n in (("train", 20), ("test", 6)) for index in range(n)
    ]
    draw(tmp_path, names)
    rows = ["file_name,text", *(f"{name},picture {name}" for name in names)]
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    data = anogen.load_data(tmp_path)
    assert len(data.test) == 6
    assert set(data.test.captions) == {(f"picture test/{index}.png",) for index in range(6)}


def test_columns_of_later_rows_count_and_a_missing_label_is_said(tmp_path):
    draw(tmp_path, [f"{index}.png" for index in range(12)])
    rows = [{"file_name": f"{index}.png", "label": index % 2} for index in range(12)]
    del rows[0]["label"]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"row 1, 0\.png, has no label"):
        anogen.load_data(tmp_path)


def test_labels_of_digits_are_in_the_order_of_their_numbers(tmp_path):
    draw(tmp_path, [f"{index:02}.png" for index in range(12)])
    labels = ["1", "01", "001", "10", "2", "9" * 5000]
    rows = [f"{index:02}.png,{labels[index % 6]}" for index in range(12)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    classes = anogen.load_data(tmp_path).train.classes
    assert classes[:5] == ("001", "01", "1", "2", "10")
