"""Picture files: what shows, what is found, what is said of the rest."""

import os

import numpy as np
import pytest
from PIL import Image

import anogen
from anogen.data.files import load_path
from anogen.data.pictures import Pictures
from anogen.data.walk import walk
from anogen.errors import DataError, UsageError


def draw(path, count=20, mode="L", ending="png", size=(16, 16)):
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    shape = size if mode == "L" else (*size, 3)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path / f"{index}.{ending}")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("background", ["white", "grey", "black"])
def test_the_colour_under_transparent_pixels_does_not_count(tmp_path, mode, background):
    seen = []
    for hidden in (0, 128, 255):
        array = np.full((8, 8, 4), hidden, np.uint8)
        array[..., 3] = 0
        array[2:4, 2:4] = (90, 90, 90, 255)
        picture = Image.fromarray(array)
        if mode == "P":
            picture = Image.fromarray(np.where(array[..., 3] > 0, 1, 0).astype(np.uint8), "P")
            picture.putpalette([hidden] * 3 + [90] * 3)
            picture.save(tmp_path / f"{hidden}.png", transparency=0)
        else:
            picture.convert(mode).save(tmp_path / f"{hidden}.png")
        pictures = Pictures(background=background, channels=1)
        seen.append(pictures.read(tmp_path / f"{hidden}.png"))
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])
    grey = {"white": 255, "grey": 128, "black": 0}[background]
    assert set(np.unique(seen[0]).tolist()) == {grey, 90}


def test_half_transparent_pixels_are_mixed_with_the_background(tmp_path):
    Image.new("RGBA", (4, 4), (200, 100, 0, 128)).save(tmp_path / "a.png")
    share = 128 / 255
    for background, grey in (("white", 255), ("black", 0)):
        found = Pictures(background=background).read(tmp_path / "a.png")[0, 0]
        expected = share * np.array([200, 100, 0]) + (1 - share) * grey
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_pictures_of_a_camera_with_fewer_bits(tmp_path, capsys, bits):
    values = np.linspace(0, 2**bits - 1, 4096).reshape(64, 64).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    pictures = Pictures()
    plain = pictures.read(tmp_path / "a.png")
    pictures.warn_of_unused_bits("a.png")
    assert np.array_equal(plain[..., 0], values >> 8)
    said = capsys.readouterr().err
    assert (f"set bits {bits}" in said) == (bits <= 12)
    found = Pictures(bits=bits).read(tmp_path / "a.png")[..., 0]
    assert np.array_equal(found, values >> (bits - 8))
    assert found.max() == 255
    if bits > 8:
        with pytest.raises(DataError, match=f"do not fit into {bits - 1} bits; set bits {bits}"):
            Pictures(bits=bits - 1).read(tmp_path / "a.png")


def test_a_folder_of_camera_pictures_warns_once_and_takes_bits(tmp_path, capsys):
    for index in range(12):
        values = np.full((16, 16), 300 * index, np.uint16)
        Image.fromarray(values).save(tmp_path / f"{index}.png")
    assert load_path(tmp_path).train.pixels.max() <= 15
    assert capsys.readouterr().err.count("set bits 12") == 1
    assert load_path(tmp_path, Pictures(bits=12)).train.pixels.max() > 100
    assert "set bits" not in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["bmp", "tif", "tiff", "webp", "PNG", "JPG", "Bmp"])
def test_every_format_is_read(tmp_path, ending):
    draw(tmp_path, 12, ending=ending)
    data = load_path(tmp_path)
    assert len(data.train) + len(data.validation) + len(data.test) == 12
    lossless = ending.lower() in ("bmp", "tif", "tiff", "png")
    if lossless:
        whole = np.concatenate([p.pixels for p in (data.train, data.validation, data.test)])
        original = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
        assert any(np.array_equal(image[0], original) for image in whole)


@pytest.mark.parametrize("ending", ["webp", "tif", "png"])
def test_moving_pictures_are_refused(tmp_path, ending):
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="more than one frame; only still pictures"):
        Pictures().read(tmp_path / f"a.{ending}")


def test_floating_point_and_deep_grey_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match="floating-point"):
        Pictures().read(tmp_path / "f.tif")
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(DataError, match="do not fit into 16 bits; save it with"):
        Pictures().read(tmp_path / "i.tif")


def counted(data):
    return len(data.train) + len(data.validation) + len(data.test)


def test_hidden_folders_are_left_out_below_the_root_only(tmp_path, capsys):
    root = tmp_path / ".hidden_root"
    draw(root / "a")
    draw(root / "b")
    draw(root / ".ipynb_checkpoints", 3)
    data = anogen.load_data(root)
    assert counted(data) == 40
    assert data.train.classes == ("a", "b")
    assert "hidden: 1" in capsys.readouterr().err


def test_links_to_folders_are_followed_once(tmp_path, capsys):
    draw(tmp_path / "real" / "b")
    root = tmp_path / "root"
    draw(root / "a")
    (root / "b").symlink_to(tmp_path / "real" / "b")
    (root / "a" / "again").symlink_to(root)
    data = anogen.load_data(root)
    assert counted(data) == 40
    assert data.train.classes == ("a", "b")
    assert "linked twice: 1" in capsys.readouterr().err


def test_all_that_is_left_out_is_counted_with_its_reason(tmp_path):
    draw(tmp_path)
    (tmp_path / "x.png").mkdir()
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "movie.gif").write_text("")
    (tmp_path / "other.txt").write_text("")
    (tmp_path / "Makefile").write_text("")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    found = walk(tmp_path)
    assert len(found.files) == 20
    assert dict(found.left_out) == {
        ".txt": 2, ".gif": 1, "without an ending": 1, "no file": 2,
    }  # fmt: skip


def test_pictures_beside_class_folders_are_said(tmp_path, capsys):
    draw(tmp_path, 1)
    draw(tmp_path / "a")
    draw(tmp_path / "b")
    data = anogen.load_data(tmp_path)
    assert data.train.labels is None
    assert "1 of 41 pictures lie in no sub-folder" in capsys.readouterr().err


def test_train_val_and_test_folders(tmp_path, capsys):
    for part, count in (("train", 30), ("val", 12), ("test", 10)):
        for name in "ab":
            draw(tmp_path / "three" / part / name, count // 2)
            if part != "test":
                draw(tmp_path / "two" / part / name, count // 2)
    data = anogen.load_data(tmp_path / "three")
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 12, 10)
    assert data.train.classes == data.test.classes == ("a", "b")
    capsys.readouterr()
    data = anogen.load_data(tmp_path / "two")
    assert (len(data.train) + len(data.validation), len(data.test)) == (30, 12)
    assert data.train.classes == ("a", "b")
    assert "val serves as test" in capsys.readouterr().err


def test_arrays_with_upper_case_endings(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16), np.uint8)
    with (tmp_path / "X.NPY").open("wb") as file:
        np.save(file, pixels)
    with (tmp_path / "Y.NPZ").open("wb") as file:
        np.savez(file, images=pixels)
    for name in ("X.NPY", "Y.NPZ"):
        assert counted(anogen.load_data(tmp_path / name)) == 20


def test_a_run_reads_new_pictures_as_it_read_its_own(anogen, tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(60):
        array = rng.integers(0, 256, (16, 16, 4), np.uint8)
        array[:, :8, 3] = 0
        Image.fromarray(array).save(folder / f"{index}.png")
    outcome = anogen("train", "--data", folder, "--background", "black", "--epochs", 1, "--run",
                     tmp_path / "run", "--model.width", 4)  # fmt: skip
    assert outcome.code == 0, outcome.err
    from anogen.data.sources import find_sources

    assert len(find_sources([folder])) == 60
    whole = anogen("score", tmp_path / "run", folder, "--fpr", 0.2, "--score", "mean_distance")
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in folder.iterdir():
        picture = Pictures(background="black").read(path)
        Image.fromarray(picture).save(flat / path.name)
    same = anogen("score", tmp_path / "run", flat, "--fpr", 0.2, "--score", "mean_distance")
    assert [line.split(",")[2] for line in whole.out.splitlines()] == [
        line.split(",")[2] for line in same.out.splitlines()
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"background": "pink"}, "did you mean|unknown background"), ({"bits": 7}, "bits must lie"),
     ({"bits": 2.5}, "whole number"), ({"image_size": 10**6}, "at most 7071"),
     ({"channels": 2}, "1 .grey. or 3"), ({"resize": "squash"}, "unknown resize")],
)  # fmt: skip
def test_senseless_ways_of_reading_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Pictures(**options)


def test_a_folder_is_found_under_its_own_name_not_a_link_s(tmp_path):
    draw(tmp_path / "a")
    (tmp_path / "0_link").symlink_to(tmp_path / "a")
    draw(tmp_path / "c")
    assert anogen.load_data(tmp_path).train.classes == ("a", "c")


def test_two_folders_of_validation_pictures_are_refused(tmp_path):
    draw(tmp_path / "train", 30)
    draw(tmp_path / "val", 10)
    (tmp_path / "validation").mkdir()
    assert len(load_path(tmp_path).test) == 10  # an empty one does not count
    draw(tmp_path / "validation", 5)
    with pytest.raises(DataError, match="val and validation both hold pictures"):
        load_path(tmp_path)


def test_folders_that_look_like_splits_and_are_none_are_said(tmp_path, capsys):
    for name in ("Train", "Test"):
        draw(tmp_path / name)
    assert anogen.load_data(tmp_path).train.classes == ("Test", "Train")
    assert "Test, Train would be splits" in capsys.readouterr().err


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_pictures_are_turned_as_they_are_shown(tmp_path, orientation, ending):
    array = (np.arange(24 * 16).reshape(24, 16) * 0.6).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(array).save(tmp_path / f"a.{ending}", exif=exif, quality=100)
    found = Pictures().read(tmp_path / f"a.{ending}")[..., 0].astype(int)
    turned = {1: array, 2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1], 5: array.T,
              6: array.T[:, ::-1], 7: array.T[::-1, ::-1], 8: array.T[::-1]}  # fmt: skip
    expected = turned[orientation]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= (0 if ending != "jpg" else 8)


def test_deep_grey_that_is_turned_round_or_partly_transparent(tmp_path):
    values = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    picture = Image.fromarray(values)
    picture.save(tmp_path / "a.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "a.tif") as saved:
        assert saved.tag_v2[262] == 0
    assert np.array_equal(Pictures().read(tmp_path / "a.tif")[..., 0], (65535 - values) >> 8)
    picture.save(tmp_path / "t.png", transparency=int(values[3, 3]))
    for background, grey in (("white", 255), ("black", 0)):
        found = Pictures(background=background).read(tmp_path / "t.png")[..., 0]
        assert found[3, 3] == grey
        assert np.array_equal(found[4:], values[4:] >> 8)


def test_the_layout_of_mvtec_is_known(tmp_path, capfd):
    """Good pictures train and test; defects are sets of their own, and masks are left alone."""
    for index, (kind, count) in enumerate(
        {"train/good": 30, "test/good": 12, "test/crack": 5, "test/hole": 4,
         "ground_truth/crack": 5}.items()
    ):  # fmt: skip
        (tmp_path / kind).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (16, 16), 10 * index + number).save(tmp_path / kind / f"{number}.png")
    data = anogen.load_data(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 12)
    assert data.train.labels is None
    assert data.test.pixels.min() == 10
    assert "test/crack" in capfd.readouterr().err
    assert len(walk(tmp_path / "test" / "crack").files) == 5
