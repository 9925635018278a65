"""Pictures of parts from the shell: kinds of defects, masks, and where they are seen."""

import json

import numpy as np
import pytest
from PIL import Image

KEYS = ("pixel_auroc", "pixel_auroc_low", "aupro", "aupro_high", "pixel_threshold")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Striped pictures of 48×48 in MVTec AD's layout, with dark and with bright spots."""
    root = tmp_path_factory.mktemp("data") / "parts"
    generator = np.random.default_rng(0)

    def good():
        waves = np.sin(np.arange(48) / 4 + generator.normal() * 0.2)
        return (128 + 40 * waves + generator.normal(0, 4, (48, 48))).clip(0, 255)

    for folder, count in (("train/good", 120), ("test/good", 20)):
        for index in range(count):
            save(root / folder / f"{index:03}.png", good())
    for kind, value in (("dark", 0), ("bright", 255)):
        for index in range(6):
            picture, mask = good(), np.zeros((48, 48))
            y, x = generator.integers(4, 38, 2)
            picture[y : y + 5, x : x + 5] = value
            mask[y : y + 5, x : x + 5] = 255
            save(root / f"test/{kind}/{index}.png", picture)
            save(root / f"ground_truth/{kind}/{index}_mask.png", mask)
    return root


@pytest.fixture
def run(anogen, parts, tmp_path):
    """A run of one short epoch; the scores of these tests need no model."""
    path = tmp_path / "run"
    done = anogen("train", "--data", parts, "--run", path, "--epochs", 1, "--model.width", 4)
    assert done.code == 0, done.err
    return path


def test_every_kind_of_defect_is_judged_with_its_masks(anogen, run):
    done = anogen("detect", run, "--score", "local_gaussian_pixels", "--json")
    assert done.code == 0, done.err
    assert "12 calibration examples support no less than 0.077 of false alarms" in done.err
    rows = json.loads(done.out)["rows"]
    assert [row["out_set"] for row in rows] == ["bright", "dark", "all defects"]
    for row in rows:
        assert row["auroc"] > 0.95
        assert all(np.isfinite(row[key]) for key in KEYS)
        assert row["aupro_low"] <= row["aupro"] <= row["aupro_high"]
        assert row["pixel_auroc"] > 0.95
    page = (run / "report.html").read_text()
    assert "Where the defects are" in page
    figures = {path.name for path in (run / "figures").glob("places_*.png")}
    assert figures == {f"places_{name}.png" for name in ("bright", "dark", "good", "training")}


def test_the_default_score_looks_at_places(anogen, run, parts):
    done = anogen("detect", run, "--json")
    assert done.code == 0, done.err
    assert [row["score"] for row in json.loads(done.out)["rows"]][::3] == [
        "local_gaussian_learnt", "squared_error",
    ]  # fmt: skip
    scored = anogen("score", run, parts / "test" / "dark", "--fpr", 0.1)
    assert scored.code == 0, scored.err
    assert scored.out.count("\n") == 7


def test_masks_of_a_folder_of_its_own(anogen, run, parts, tmp_path):
    call = ("detect", run, "--score", "local_gaussian_pixels", "--out", parts / "test" / "dark")
    own = tmp_path / "masks"
    (parts / "ground_truth" / "dark").rename(own)
    try:
        done = anogen(*call, "--masks", own, "--json")
        assert done.code == 0, done.err
        (row,) = json.loads(done.out)["rows"]
        assert row["aupro"] > 0.8
        (without,) = json.loads(anogen(*call, "--json").out)["rows"]
        assert "aupro" not in without
        (own / "0_mask.png").rename(own / "9.png")
        wrong = anogen(*call, "--masks", own)
        assert wrong.code == 3
        assert "has no mask in" in wrong.err
        assert anogen(*call, "--masks", tmp_path / "none").code == 3
    finally:
        if (own / "9.png").exists():
            (own / "9.png").rename(own / "0_mask.png")
        own.rename(parts / "ground_truth" / "dark")


def test_a_rate_that_is_asked_for_is_not_changed(anogen, run):
    done = anogen("detect", run, "--score", "local_gaussian_pixels", "--fpr", 0.01)
    assert done.code == 2
    assert "cannot support a false-positive rate of 0.01" in done.err


def test_pictures_in_colour_that_are_not_square(anogen, tmp_path):
    generator = np.random.default_rng(0)
    for folder, count in (("train/good", 40), ("test/good", 10), ("test/hole", 3)):
        for index in range(count):
            picture = generator.normal(128, 20, (48, 64, 3)).clip(0, 255)
            if folder == "test/hole":
                picture[10:20, 10:20] = 0
            save(tmp_path / "parts" / folder / f"{index}.png", picture)
    run = tmp_path / "run"
    call = ("--run", run, "--epochs", 1, "--model.width", 4)
    assert anogen("train", "--data", tmp_path / "parts", *call).code == 0
    done = anogen("detect", run, "--score", "local_gaussian_pixels", "--json")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)["rows"]
    assert row["auroc"] > 0.95
    assert "aupro" not in row
    assert (run / "figures" / "places_hole.png").exists()
    refused = anogen("detect", run, "--out", "digits", "--masks", tmp_path)
    assert refused.code == 2
    assert "--masks belongs to a folder of pictures" in refused.err
