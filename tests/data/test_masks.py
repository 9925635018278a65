"""Masks belong to pictures by name, and fit them."""

import numpy as np
import pytest
from PIL import Image

from anogen.data.masks import kinds_of_defects, masks_beside, read_masked
from anogen.data.pictures import Pictures
from anogen.errors import DataError


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def parts(tmp_path):
    """MVTec AD's layout: two kinds of defects, three pictures each, of 20×30."""
    grey = np.full((20, 30), 90)
    for folder in ("train/good", "test/good"):
        for index in range(3):
            save(tmp_path / folder / f"{index}.png", grey)
    for kind, top in (("crack", 2), ("blob", 10)):
        for index in range(3):
            mask = np.zeros((20, 30))
            mask[top : top + 4, index : index + 5] = 1
            save(tmp_path / "test" / kind / f"{index}.png", grey)
            save(tmp_path / "ground_truth" / kind / f"{index}_mask.png", mask)
    return tmp_path


def test_kinds_and_their_masks_are_found(parts):
    kinds = kinds_of_defects(parts)
    assert [kind.name for kind in kinds] == ["blob", "crack"]
    assert masks_beside(kinds[0]) == parts / "ground_truth" / "blob"
    assert masks_beside(parts / "train" / "good") is None
    assert kinds_of_defects(parts / "test") == []


def test_masks_follow_their_pictures(parts):
    found = read_masked(parts / "test/crack", parts / "ground_truth/crack", Pictures())
    assert [path.name for path in found.files] == ["0.png", "1.png", "2.png"]
    assert found.images.shape == (1, 20, 30)
    assert found.masks.shape == (3, 20, 30)
    assert [mask.any(0).argmax() for mask in found.masks] == [0, 1, 2]
    assert found.masks.sum((1, 2)).tolist() == [20, 20, 20]


def test_masks_are_brought_to_the_size_of_the_net(parts):
    found = read_masked(parts / "test/blob", parts / "ground_truth/blob", Pictures(10))
    assert found.masks.shape == (3, 10, 10)
    rows = np.flatnonzero(found.masks[0].any(1))
    assert (rows[0], rows[-1]) == (5, 6)  # of the rows 10 to 13 of 20
    padded = read_masked(parts / "test/blob", parts / "ground_truth/blob", Pictures(30, "pad"))
    assert np.flatnonzero(padded.masks[0].any(1))[[0, -1]].tolist() == [15, 18]


def test_what_does_not_fit_is_named(parts):
    folder, masks = parts / "test/crack", parts / "ground_truth/crack"
    (masks / "1_mask.png").rename(masks / "7_mask.png")
    with pytest.raises(DataError, match=r"1\.png: has no mask in"):
        read_masked(folder, masks, Pictures())
    save(masks / "1_mask.png", np.zeros((20, 30)))
    with pytest.raises(DataError, match=r"7_mask\.png: a mask without a picture"):
        read_masked(folder, masks, Pictures())
    (masks / "7_mask.png").unlink()
    save(masks / "2.png", np.zeros((20, 20)))
    (masks / "2_mask.png").unlink()
    with pytest.raises(DataError, match=r"2\.png: 20×20 pixels, but its picture .* has 30×20"):
        read_masked(folder, masks, Pictures())
