"""`anogen score`: rows of files, with bad ones among them, resumed, in three formats."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from anogen import Detector, Images
from anogen.data.pictures import Pictures
from anogen.data.sources import find_sources
from anogen.detection.files import score_files
from anogen.detection.rows import part_of, rows_done, write_rows
from anogen.errors import DataError, UsageError


@pytest.fixture(scope="module")
def detector(trained, digits):
    return Detector.fit(trained.load_model(), digits, "squared_error")


@pytest.fixture
def folder(tmp_path, digits):
    """Three digits as pictures, one damaged, one of another size, and an array of twenty."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, image in enumerate(digits.test.pixels[:3]):
        Image.fromarray(image[0]).save(folder / f"{index}.png")
    (folder / "3.png").write_bytes(b"not a picture")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "4.png")
    np.save(tmp_path / "array.npy", digits.test.pixels[:20, 0])
    return folder


def test_one_row_for_each_image_in_order(detector, digits, folder):
    sources = find_sources([folder, folder.parent / "array.npy"])
    assert len(sources) == 25
    rows = list(score_files(detector, sources, false_positive_rate=0.1))
    expected = detector.score(Images(digits.test.pixels[:20], "plain"))
    assert [row.score for row in rows[:3]] == expected[:3].tolist()
    assert [row.score for row in rows[5:]] == expected.tolist()
    assert [row.index for row in rows[5:]] == list(range(20))
    assert rows[3].score is None
    assert "not a PNG or JPEG" in rows[3].error
    assert "--image_size 28" in rows[4].error
    threshold = detector.calibration.threshold(0.1)
    assert [row.label for row in rows[5:]] == (expected > threshold).astype(int).tolist()
    resizing = replace(detector, pictures=Pictures(28, channels=1))
    whole = list(score_files(resizing, sources, false_positive_rate=0.1))
    assert whole[4].error == ""
    with pytest.raises(DataError, match=r"3\.png"):
        list(score_files(detector, sources, false_positive_rate=0.1, strict=True))


def test_a_bad_value_costs_one_row_only(detector, digits, tmp_path):
    array = digits.test.pixels[:5, 0] / 255.0
    array[2, 0, 0] = np.nan
    np.save(tmp_path / "nan.npy", array)
    (tmp_path / "broken.npy").write_bytes(b"no array")
    np.save(tmp_path / "bytes_as_floats.npy", np.full((2, 8, 8), 255.0))
    names = [tmp_path / name for name in ("nan.npy", "broken.npy", "bytes_as_floats.npy")]
    rows = list(score_files(detector, find_sources(names), false_positive_rate=0.1))
    assert [bool(row.error) for row in rows] == [False, False, True, False, False, True, True, True]
    assert "image 2 has the value nan" in rows[2].error
    assert "divide by 255" in rows[7].error
    (tmp_path / "empty").mkdir()
    (row,) = score_files(detector, find_sources([tmp_path / "empty"]), false_positive_rate=0.1)
    assert "no PNG or JPEG picture" in row.error
    np.save(tmp_path / "none.npy", np.zeros((0, 8, 8), np.uint8))
    with pytest.raises(DataError, match="no image in what was given"):
        find_sources([tmp_path / "none.npy"])


def test_an_interrupted_call_goes_on(detector, folder, tmp_path):
    sources = find_sources([folder, folder.parent / "array.npy"])
    job, out = {"run": "a"}, tmp_path / "scores.jsonl"
    whole = list(score_files(detector, sources, false_positive_rate=0.1))

    def interrupted():
        yield from whole[:7]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(interrupted(), out, job, 0)
    assert not out.exists()
    with part_of(out).open("a") as part:
        part.write('{"file": "half a li')
    assert rows_done(out, job) == 7
    with pytest.raises(UsageError, match="of other files"):
        rows_done(out, {"run": "b"})
    rest = score_files(detector, sources, false_positive_rate=0.1, skip=7)
    write_rows(rest, out, job, 7)
    assert not part_of(out).exists()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["score"] for row in rows] == [row.score for row in whole]


def test_going_on_within_one_array_leaves_nothing_of_the_next_out(detector, digits, tmp_path):
    for name in ("first", "second"):
        np.save(tmp_path / f"{name}.npy", digits.test.pixels[:6, 0])
    sources = find_sources([tmp_path / "first.npy", tmp_path / "second.npy"])
    whole = list(score_files(detector, sources, false_positive_rate=0.1))
    for skip in (0, 4, 6, 9):
        rest = list(score_files(detector, sources, false_positive_rate=0.1, skip=skip))
        assert rest == whole[skip:]


def test_the_command(anogen, noise_file, tmp_path):
    run = tmp_path / "run"
    assert anogen("train", "--data", noise_file, "--epochs", 1, "--model.width", 4,
                  "--model.latent", 2, "--run", run).code == 0  # fmt: skip
    printed = anogen("score", run, noise_file, "--fpr", 0.1, "--score", "squared_error")
    assert printed.code == 0, printed.err
    rows = list(csv.DictReader(printed.out.splitlines()))
    assert len(rows) == 600
    assert set(rows[0]) == {"file", "index", "score", "p_value", "label", "error"}
    assert (run / "detector" / "squared_error" / "manifest.json").exists()
    for suffix in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"scores.{suffix}"
        done = anogen("score", run, noise_file, "--fpr", 0.1, "--score", "squared_error",
                      "--out", out)  # fmt: skip
        assert done.code == 0, done.err
        assert done.out.strip() == str(out)
    table = parquet.read_table(tmp_path / "scores.parquet")
    assert table.column("score").to_pylist() == [float(row["score"]) for row in rows]
    assert (tmp_path / "scores.csv").read_text().splitlines() == printed.out.splitlines()
    array = tmp_path / "changing.npy"
    np.save(array, np.zeros((5, 16, 16), np.uint8))
    first = find_sources([array]).identity
    np.save(array, np.zeros((5, 16, 16), np.uint8) + 1)
    assert find_sources([array]).identity != first
    (tmp_path / "bad.png").write_bytes(b"")
    for arguments, code, message in (
        ([noise_file, "--out", "rows.txt"], 2, "expected a name ending in .csv"),
        ([noise_file, "--score", "sqared_error"], 2, "did you mean 'squared_error'"),
        ([noise_file, "--fpr", 0.0001], 2, "cannot support"),
        ([tmp_path / "bad.png", "--strict", "--fpr", 0.1], 3, "bad.png"),
        ([tmp_path / "bad.png", "--fpr", 0.1], 3, "nothing could be scored"),
        ([tmp_path / "nothing.npy", "--strict", "--fpr", 0.1], 3, "nothing.npy"),
        ([], 2, "files"),
    ):
        refused = anogen("score", run, *arguments)
        assert refused.code == code, refused.err
        assert message in refused.err
        assert refused.err.strip().count("\n") <= 2


def test_what_failed_fails_again(anogen, tmp_path, noise_file):
    anogen("train", "--model", "VAE", "--model.latent", 2, "--data", noise_file, "--epochs", 1,
           "--run", tmp_path / "run")  # fmt: skip
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    out = tmp_path / "out.csv"
    call = (
        "score",
        tmp_path / "run",
        tmp_path / "bad.png",
        "--score",
        "squared_error",
        "--fpr",
        0.1,
    )
    for _ in range(2):
        outcome = anogen(*call, "--out", out)
        assert outcome.code == 3
        assert "nothing could be scored" in outcome.err
        assert not out.exists()
        assert not part_of(out).exists()


def test_the_layout_of_an_array_file_changes_nothing(detector, digits, tmp_path):
    pixels = digits.test.pixels[:300, 0]
    np.save(tmp_path / "rows.npy", pixels)
    np.save(tmp_path / "columns.npy", np.asfortranarray(pixels))
    rows, columns = (
        [row.score for row in score_files(detector, find_sources([path]), false_positive_rate=0.1)]
        for path in (tmp_path / "rows.npy", tmp_path / "columns.npy")
    )
    assert rows == columns
