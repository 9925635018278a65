"""Three parts: enough to calibrate, groups together, near duplicates found."""

import numpy as np
import pytest

from anogen import Images, fit, load_data, split
from anogen.data.duplicates import near_duplicates
from anogen.data.splits import images_for, warn_of_near_duplicates
from anogen.errors import DataError, UsageError


def noise(count: int, seed: int = 0) -> Images:
    rng = np.random.default_rng(seed)
    return Images(rng.integers(0, 256, (count, 1, 16, 16), np.uint8), "noise")


@pytest.mark.parametrize(
    ("rate", "count", "validation"),
    [(0.01, 495, 99), (0.01, 490, 49), (0.05, 100, 19), (0.001, 5000, 999), (0.001, 4000, 400)],
)
def test_validation_is_large_enough_for_the_rate(rate, count, validation):
    assert len(split(noise(count), false_positive_rate=rate).validation) == validation


@pytest.mark.parametrize("rate", [0, 1, -1, float("nan"), "x", None])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(UsageError, match="false"):
        load_data("digits", false_positive_rate=rate)


def test_what_is_missing_is_said_before_training(vae, tmp_path, capsys):
    few = split(noise(200))
    fit(vae(few.shape), few, tmp_path / "run", epochs=1, batch_size=32)
    first = capsys.readouterr().err.splitlines()[0]
    assert "20 validation images; a detector needs 99" in first
    assert "79 are missing" in first
    digits = load_data("digits")
    digits.warn()
    assert capsys.readouterr().err == ""
    load_data("digits", false_positive_rate=0.001).warn()
    assert "a detector needs 999 for a false-positive rate of 0.001" in capsys.readouterr().err


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.003])
def test_so_many_images_support_a_rate_and_one_less_does_not(rate):
    from anogen.detection.calibration import allowed

    needed = images_for(rate)
    assert allowed(rate, needed) >= 1
    with pytest.raises(UsageError):
        allowed(rate, needed - 1)


@pytest.mark.parametrize("sizes", [[1] * 50, [5] * 10, [40, 1, 1, 1, 1], [1, 1, 30]])
def test_groups_are_never_divided_and_each_part_has_one(sizes):
    groups = [f"g{index}" for index, size in enumerate(sizes) for _ in range(size)]
    images = noise(len(groups))
    images.pixels[:, 0, 0, 0] = np.repeat(np.arange(len(sizes)), sizes)
    data = split(images, groups=groups)
    parts = [set(p.pixels[:, 0, 0, 0].tolist()) for p in (data.train, data.validation, data.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(sizes)
    again = split(images, groups=groups)
    assert again.train.sha256 == data.train.sha256


def test_groups_of_another_number_are_refused():
    with pytest.raises(DataError, match="3 groups for 20 images"):
        split(noise(20), groups=["a", "b", "c"])


def test_near_duplicates_are_found_whatever_their_brightness(capsys):
    images = noise(100)
    brighter = Images((images.pixels[:10] // 2 + 90).astype(np.uint8), "brighter")
    assert near_duplicates(brighter, images) == 10
    assert near_duplicates(noise(50, seed=1), images) == 0
    doubled = Images(np.concatenate([images.pixels, images.pixels]), "doubled")
    warn_of_near_duplicates(split(doubled))
    assert "nearly equal a training picture" in capsys.readouterr().err
    warn_of_near_duplicates(split(images))
    assert capsys.readouterr().err == ""


def test_pictures_without_contrast_are_no_duplicates_of_everything():
    flat = Images(np.full((20, 1, 16, 16), 7, np.uint8), "flat")
    assert near_duplicates(flat, noise(30)) == 0


def test_data_say_what_they_are():
    assert repr(noise(5)) == "<5 images 'noise', 16×16×1>"
    assert repr(load_data("digits")).splitlines()[0].startswith("train       <1437 images 'digits'")


def test_one_huge_group_is_learnt_from(capsys):
    groups = ["huge"] * 991 + [f"g{index}" for index in range(9)]
    data = split(noise(1000), groups=groups)
    assert len(data.train) >= 991
    assert len(data.validation) + len(data.test) <= 9
    capsys.readouterr()
    split(noise(100), groups=["a"] * 50 + ["b"] * 45 + ["c"] * 5)
    assert "is held out as a whole" in capsys.readouterr().err


def test_captions_or_labels_of_some_parts_only_are_no_reason_to_fail():
    import dataclasses

    labelled = dataclasses.replace(noise(40), labels=np.zeros(40, np.int64), classes=("a",))
    data = dataclasses.replace(split(labelled), test=noise(10, 1), own_test=False)
    assert data.foreign.labels is None
    dataclasses.replace(data, may_have_duplicates=True).warn()
