"""Several data sets side by side, and pictures that show the same thing."""

import numpy as np
import pytest
import torch
from PIL import Image

from anogen import load_data
from anogen.data.batches import Shuffled
from anogen.data.catalog import load_domains
from anogen.data.domains import balanced, brought_to, brought_together, side_by_side
from anogen.data.images import Images
from anogen.data.splits import split
from anogen.errors import DataError, UsageError

RNG = np.random.default_rng(0)


def folder_of(tmp_path, **domains):
    """A folder with a sub-folder for each domain: name → names of its pictures."""
    for domain, names in domains.items():
        for name in names:
            path = tmp_path / "things" / domain / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, 256, (8, 8), np.uint8)).save(path)
    return tmp_path / "things"


def arrays(tmp_path, *counts, size=8):
    for number, count in enumerate(counts):
        pixels = np.full((count, size, size), number, np.uint8)
        pixels[:, 0, 0] = np.arange(count)
        np.save(tmp_path / f"set{number}.npy", pixels)
    return ",".join(str(tmp_path / f"set{number}.npy") for number in range(len(counts)))


def test_domains_are_brought_to_one_size_and_labelled(tmp_path, capsys):
    np.save(tmp_path / "small.npy", RNG.integers(0, 256, (40, 8, 8), np.uint8))
    np.save(tmp_path / "large.npy", RNG.integers(0, 256, (20, 16, 16, 3), np.uint8))
    data = load_data(f"{tmp_path}/small.npy,{tmp_path}/large.npy")
    assert (data.shape, data.train.classes) == ((3, 16, 16), ("small", "large"))
    assert np.bincount(data.train.labels).tolist() == [32, 16]
    assert "small: images of 8×8×1 are brought to 16×16×3" in capsys.readouterr().err
    small = load_data(tmp_path / "small.npy")
    assert np.array_equal(data.train.pixels[:32], brought_to(small.train.pixels[:], (3, 16, 16)))
    again = load_data(**data.source)
    assert again.train.sha256 == data.train.sha256
    assert np.array_equal(data.train[5:40].pixels[:], data.train.pixels[:][5:40])


def test_a_size_and_colours_that_are_asked_for():
    parts = [split(Images(np.full((20, 3, 9, 9), 200, np.uint8), name)) for name in "ab"]
    both = side_by_side(brought_together(parts, image_size=12, channels=1))
    assert both.shape == (1, 12, 12)
    assert set(np.unique(both.test.pixels[:])) == {200}


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ("digits,digits", {}, DataError, "different names"),
        ("digits,nothing", {}, UsageError, "unknown data set 'nothing'"),
        ("digits,", {}, UsageError, "nothing beside one of its commas"),
        ("digits,digits+grey=2", {}, UsageError, "grey has no strength"),
        ("digits,shapes", {"pairs": "order"}, DataError, "1437 of digits"),
        ("digits,digits+blur", {"pairs": "names"}, UsageError, "paired by their order"),
        ("digits", {"pairs": "order"}, UsageError, "folders of pictures only"),
        ("digits", {"pairs": 3}, UsageError, "pairs is text"),
        ("digits", {"balance": 3}, UsageError, "balance"),
    ],
)
def test_what_does_not_go_side_by_side(data, options, error, message):
    with pytest.raises(error, match=message):
        load_data(data, **options)


def test_tables_are_no_domains(tmp_path):
    for name in ("a", "b"):
        lines = "\n".join(f"{number},{number**2}" for number in range(30))
        (tmp_path / f"{name}.csv").write_text(f"x,y\n{lines}\n")
    with pytest.raises(UsageError, match="not of tables"):
        load_data(f"{tmp_path}/a.csv,{tmp_path}/b.csv")


def test_a_path_may_hold_a_comma(tmp_path):
    np.save(tmp_path / "a,b.npy", np.zeros((30, 8, 8), np.uint8))
    assert load_data(f"{tmp_path}/a,b.npy").name == "a,b"
    assert load_data(f"{tmp_path}/a,b.npy+inversion").train.pixels[0].max() == 255


def test_data_sets_may_lie_below_a_folder_with_a_comma(tmp_path, monkeypatch):
    folder = tmp_path / "a,b"
    folder.mkdir()
    arrays(folder, 30, 30)
    monkeypatch.chdir(folder)
    data = load_data("set0.npy+blur,set1.npy")
    again = load_data(**data.source)
    assert again.train.classes == ("set0+blur", "set1")
    assert again.train.sha256 == data.train.sha256


def test_a_limit_is_that_of_the_domains_alone():
    data = load_data("digits,shapes", limit=400)
    alone = load_domains(data)
    assert sum(len(each.train) for each in alone) == len(data.train) == 400
    assert np.array_equal(alone[0].train.pixels[:], data.train[data.train.labels == 0].pixels[:])


def test_repeats_of_pairs_do_not_crowd_a_batch(tmp_path):
    names = [f"{number:02}" for number in range(20)]
    data = load_data(folder_of(tmp_path, cat=names, dog=names[:10]), pairs="names", balance=True)
    _, times = np.unique(data.train.things, return_counts=True)
    assert times.max() == 2
    assert np.all(np.diff(data.train.things) >= 0)
    counts = np.bincount(data.train.labels)
    assert counts[0] == counts[1]
    cat, dog = load_domains(data)
    assert len(cat.train) > len(dog.train)


def test_files_of_the_same_name_in_train_and_test_are_other_things(tmp_path, capsys):
    for part in ("train", "test"):
        for domain in ("cat", "dog"):
            for number in range(20):
                path = tmp_path / part / domain / f"{number:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(RNG.integers(0, 256, (8, 8), np.uint8)).save(path)
    data = load_data(tmp_path, pairs="names")
    assert "groups" not in capsys.readouterr().err
    assert data.may_have_duplicates
    things = [set(part.things.tolist()) for part in (data.train, data.validation, data.test)]
    assert not things[0] & things[1]
    assert not things[0] & things[2]


def test_a_folder_of_idx_files_beside_another_set(tmp_path):
    import gzip
    import struct

    for part, count in (("train", 40), ("t10k", 20)):
        images = struct.pack(">4I", 0x803, count, 8, 8) + bytes(count * 64)
        labels = struct.pack(">2I", 0x801, count) + bytes(count)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    assert load_data(f"{tmp_path},digits", image_size=16).shape == (1, 16, 16)


def test_balance_repeats_the_smaller_ones(tmp_path):
    data = load_data(arrays(tmp_path, 50, 20), balance=True)
    assert np.bincount(data.train.labels).tolist() == [40, 40]
    values, times = np.unique(
        data.train.pixels[:][data.train.labels == 1, 0, 0, 0], return_counts=True
    )
    assert len(values) == 16
    assert set(times) == {2, 3}
    with pytest.raises(DataError, match="no labels"):
        balanced(Images(np.zeros((4, 1, 8, 8), np.uint8), "plain"))


def test_domains_are_transformed_in_the_size_that_they_are_brought_to(tmp_path):
    pixels = np.full((30, 8, 8), 255, np.uint8)
    np.save(tmp_path / "small.npy", pixels)
    np.save(tmp_path / "large.npy", np.zeros((30, 32, 32), np.uint8))
    data = load_data(f"{tmp_path}/small.npy+zoom=0.5,{tmp_path}/large.npy")
    assert data.train.classes == ("small+zoom=0.5", "large")
    first = data.train.pixels[:][0, 0]
    assert (first[9:23, 9:23] == 255).all()
    assert (first[:7] == 0).all()
    alone = load_domains(data)
    assert [each.name for each in alone] == ["small+zoom=0.5", "large"]
    assert np.array_equal(alone[0].test.pixels[:], data.test[data.test.labels == 0].pixels[:])


def test_domains_of_a_folder_alone(tmp_path):
    names = [f"{number:02}" for number in range(20)]
    data = load_data(folder_of(tmp_path, cat=names, dog=names[:15]), pairs="names", balance=True)
    cat, dog = load_domains(data)
    assert (cat.name, dog.name) == ("cat", "dog")
    assert cat.train.labels is None
    assert len(cat.test) + len(dog.test) == len(data.test)
    with pytest.raises(DataError, match="no domains"):
        load_domains(load_data(tmp_path / "things" / "cat"))


def test_labels_of_what_stood_side_by_side_are_found_again():
    data = load_data("digits,digits+inversion", limit=50)
    first, second = load_domains(data)
    assert first.train.classes == tuple("0123456789")
    assert np.array_equal(first.test.labels, second.test.labels)


def test_pairs_by_order_stay_together(tmp_path):
    data = load_data(arrays(tmp_path, 40, 40), pairs="order", limit=20)
    assert len(data.train) == 20
    assert data.validation.labels.tolist() == [0, 1] * (len(data.validation) // 2)
    first, second = (data.train.pixels[:][data.train.labels == d, 0, 0, 0] for d in (0, 1))
    assert np.array_equal(first, second)
    seen = []
    for x, condition in Shuffled(data.train, 4, seed=0, device=torch.device("cpu")).epoch(0):
        for domain, thing in condition.tolist():
            rows = (data.train.labels == domain) & (data.train.things == thing)
            assert rows.sum() == 1
        shown = (x[:, 0, 0, 0] * 255).round().int().tolist()
        assert shown[0] == shown[1]
        assert shown[2] == shown[3]
        assert sorted(condition[:2, 0].tolist()) == [0, 1]
        seen += condition[:, 1].tolist()
    assert sorted(seen) == sorted(data.train.things.tolist())
    orders = [
        [c.tolist() for _, c in Shuffled(data.train, 4, 0, torch.device("cpu")).epoch(epoch)]
        for epoch in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_pairs_by_names_of_files(tmp_path, capsys):
    names = [f"{number:02}" for number in range(20)]
    folder = folder_of(tmp_path, cat=names, dog=[*names[:18], "alone"])
    data = load_data(folder, pairs="names")
    assert "3 of 39 pictures have no partner" in capsys.readouterr().err
    assert np.all(np.diff(data.train.things) >= 0)
    things = [set(part.things.tolist()) for part in (data.train, data.validation, data.test)]
    assert not things[0] & things[1]
    assert not things[0] & things[2]
    assert sum(len(part.things) for part in (data.train, data.validation, data.test)) == 39


def test_pairs_by_a_column_and_groups_that_hold_them(tmp_path):
    names = [f"{number:02}" for number in range(20)]
    folder = folder_of(tmp_path, cat=names, dog=names)
    lines = [f"{d}/{n}.png,{d},{n},{int(n) // 4}" for d in ("cat", "dog") for n in names]
    (folder / "metadata.csv").write_text("file_name,label,pose,kind\n" + "\n".join(lines) + "\n")
    data = load_data(folder, pairs="pose", group="kind")
    kinds = [
        {thing // 4 for thing in part.things.tolist()}
        for part in (data.train, data.validation, data.test)
    ]
    assert not kinds[0] & (kinds[1] | kinds[2])
    text = (folder / "metadata.csv").read_text()
    (folder / "metadata.csv").write_text(
        text.replace("cat,00,", "cat,,").replace("dog,01,", "dog,,")
    )
    alone = load_data(folder, pairs="pose", group="kind")
    parts = (alone.train, alone.validation, alone.test)
    things = np.concatenate([part.things for part in parts])
    assert np.unique(things, return_counts=True)[1].tolist().count(1) == 4
    (folder / "metadata.csv").write_text(text)
    with pytest.raises(DataError, match="a pair belongs to one"):
        load_data(folder, pairs="pose", group="label")
    with pytest.raises(UsageError, match="can be paired by names, pose, kind"):
        load_data(folder, pairs="posture")
    with pytest.raises(DataError, match="4 pictures of cat show '0'"):
        load_data(folder, pairs="kind")


def test_folders_without_pairs(tmp_path):
    folder = folder_of(tmp_path, cat=list("abcdefghij"), dog=list("klmnopqrst"))
    with pytest.raises(DataError, match=r"no picture has a partner.*'a' of cat"):
        load_data(folder, pairs="names")
    with pytest.raises(DataError, match="pairs need domains"):
        load_data(folder / "cat", pairs="names")


def test_a_set_in_lines_of_text(tmp_path):
    from anogen.data.datasets import USPS

    path = tmp_path / "zip.train"
    row = " ".join(["6.0000", *["-1.0000"] * 255, "1.0000"])
    path.write_text(f"{row}\n{row}\n")
    train, _ = USPS.read([path, path], "usps", USPS.classes)
    assert train.shape == (1, 16, 16)
    assert train.labels is not None
    assert train.labels.tolist() == [6, 6]
    assert train.pixels[0, 0, 0, 0] == 0
    assert train.pixels[0, 0, 15, 15] == 255
    path.write_text("6 1 2\n")
    with pytest.raises(DataError, match="square picture"):
        USPS.read([path, path], "usps", USPS.classes)
    path.write_text("six\n")
    with pytest.raises(DataError, match="cannot be read"):
        USPS.read([path, path], "usps", USPS.classes)
