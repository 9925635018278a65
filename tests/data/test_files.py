import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anogen import load_data
from anogen.data import arrays
from anogen.data.files import load_path
from anogen.data.images import Selection
from anogen.data.pictures import Pictures
from anogen.errors import DataError, UsageError


def picture(path: Path, size: tuple[int, int] = (20, 18), mode: str = "L", value: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)
    return path


def everything(folder: Path, **options) -> list[int]:
    parts = load_path(folder, Pictures(**options))
    return [len(parts.train), len(parts.validation), len(parts.test)]


def test_sub_folders_are_labels(tmp_path):
    for index in range(12):
        picture(tmp_path / ("cat" if index % 3 else "dög ü") / f"{index}.png", value=index)
    data = load_path(tmp_path)
    assert data.shape == (1, 18, 20)
    assert data.train.classes == ("cat", "dög ü")
    labels, pixels = data.train.labels, data.train.pixels[:, 0, 0, 0]
    assert labels is not None
    assert all((value % 3 == 0) == bool(label) for value, label in zip(pixels, labels, strict=True))


def test_train_and_test_folders_are_the_splits(tmp_path):
    for index in range(10):
        picture(tmp_path / "train" / "a" / f"{index}.jpg")
        picture(tmp_path / "test" / "a" / f"{index}.jpg")
    assert everything(tmp_path) == [9, 1, 10]
    picture(tmp_path / "test" / "b" / "x.jpg")
    with pytest.raises(DataError, match="train has the labels a, test a, b"):
        load_path(tmp_path)


def test_one_colour_picture_makes_all_rgb(tmp_path):
    for index in range(11):
        picture(tmp_path / f"{index:02}.png", mode="RGB" if index == 10 else "L")
    assert load_path(tmp_path).shape == (3, 18, 20)
    assert load_path(tmp_path, Pictures(channels=1)).shape == (1, 18, 20)
    with pytest.raises(UsageError, match="channels"):
        load_path(tmp_path, Pictures(channels=2))


def test_mixed_sizes_need_a_size(tmp_path):
    for index in range(12):
        picture(tmp_path / f"{index:02}.png", (20 + index % 2, 18))
    with pytest.raises(DataError, match=r"01.png: 21×18 pixels, but .*00.png has 20×18"):
        load_path(tmp_path)
    assert load_path(tmp_path, Pictures(image_size=16)).shape == (1, 16, 16)


def test_crop_keeps_the_centre_and_stretch_keeps_all(tmp_path):
    wide = np.zeros((16, 48), np.uint8)
    wide[:, 16:32] = 255
    for index in range(10):
        Image.fromarray(wide).save(tmp_path / f"{index}.png")
    assert load_path(tmp_path, Pictures(image_size=16, resize="crop")).train.pixels.min() == 255
    assert load_path(tmp_path, Pictures(image_size=16, resize="stretch")).train.pixels.min() == 0


def test_a_picture_of_100_megapixels_is_refused_from_its_header(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
    tracemalloc.start()
    with pytest.raises(DataError, match="10000×10000 pixels; pictures over 50 megapixels"):
        load_path(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_damaged_and_disguised_pictures_are_named(tmp_path):
    for index in range(10):
        picture(tmp_path / f"{index}.png", (64, 64))
    whole = (tmp_path / "9.png").read_bytes()
    (tmp_path / "9.png").write_bytes(whole[:60])
    with pytest.raises(DataError, match=r"9.png: damaged picture"):
        load_path(tmp_path)
    (tmp_path / "9.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"9.png: not a PNG or JPEG"):
        load_path(tmp_path)


def test_16_bit_grey_keeps_its_upper_byte(tmp_path):
    ramp = (np.arange(20 * 20, dtype=np.uint16) * 160).reshape(20, 20)
    for index in range(10):
        Image.fromarray(ramp).save(tmp_path / f"{index}.png")
    data = load_path(tmp_path)
    assert data.shape == (1, 20, 20)
    assert np.array_equal(data.train.pixels[0, 0], ramp >> 8)


def test_empty_folder_and_unknown_file(tmp_path):
    with pytest.raises(DataError, match="no PNG or JPEG"):
        load_path(tmp_path)
    (tmp_path / "model.pkl").write_bytes(b"cos\nsystem\n(S'echo hi'\ntR.")
    with pytest.raises(DataError, match="never opened"):
        load_path(tmp_path / "model.pkl")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="not a folder"):
        load_path(tmp_path / "notes.txt")


def test_npy_is_mapped_and_object_arrays_are_refused(tmp_path):
    path = tmp_path / "own images.npy"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16), np.uint8)
    np.save(path, pixels)
    data = load_data(path)
    assert (len(data.train), data.name) == (32, "own images")
    for part in (data.train, data.validation, data.test[2:], data.train[np.array([3, 1])]):
        assert isinstance(part.pixels, Selection)
    seen = np.concatenate([p.pixels[:] for p in (data.train, data.validation, data.test)])
    assert sorted(map(bytes, seen)) == sorted(map(bytes, pixels))
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a readable"):
        load_data(path)
    path.write_bytes(b"\x93NUMPY garbage")
    with pytest.raises(DataError, match="not a readable"):
        load_data(path)


def test_npz_layouts(tmp_path):
    path = tmp_path / "a.npz"
    images = np.zeros((20, 16, 16), np.uint8)
    np.savez(
        path, x_train=images, y_train=np.arange(20) % 2, x_test=images[:4], y_test=[0, 1, 0, 1]
    )
    data = load_data(path)
    assert len(data.test) == 4
    assert data.train.classes == ("0", "1")
    np.savez(path, x_train=images, y_train=np.arange(20) % 3, x_test=images[:2], y_test=[2, 0])
    data = load_data(path)
    assert data.test.classes == ("0", "1", "2")
    assert data.test.labels is not None
    assert data.test.labels.tolist() == [2, 0]
    np.savez(path, images)
    assert len(load_data(path).train) == 16
    np.savez(path, a=images, b=images)
    with pytest.raises(DataError, match="expected x_train/x_test or images, found a, b"):
        load_data(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="not a readable"):
        load_data(path)
    with pytest.raises(UsageError, match="folders of pictures only"):
        load_data(path, image_size=16)
    for options, message in (
        ({"image_size": 0}, "positive"),
        ({"resize": "squash"}, "unknown resize"),
    ):
        with pytest.raises(UsageError, match=message):
            load_path(tmp_path, Pictures(**options))


def test_archives_that_claim_too_much_are_not_read(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((50, 16, 16), np.uint8))
    assert load_path(tmp_path / "a.npz").shape == (1, 16, 16)
    with monkeypatch.context() as patch:
        patch.setattr(arrays, "MAX_DEFLATE_RATIO", 0)
        with pytest.raises(DataError, match="which what is there cannot hold"):
            load_path(tmp_path / "a.npz")
    monkeypatch.setattr(arrays, "_memory_bytes", lambda: 1000)
    with pytest.raises(DataError, match="more than this machine's memory"):
        load_path(tmp_path / "a.npz")


def test_an_archive_is_checked_as_it_is_read(tmp_path, monkeypatch):
    """Of `images` and `images.npy` NumPy opens the first; so must the check."""
    import io
    import zipfile

    small, large = io.BytesIO(), io.BytesIO()
    np.save(small, np.zeros((20, 16, 16), np.uint8))
    np.save(large, np.zeros((2000, 16, 16), np.uint8))
    with zipfile.ZipFile(tmp_path / "two.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("images", large.getvalue())
        archive.writestr("images.npy", small.getvalue())
    with pytest.raises(DataError):
        load_path(tmp_path / "two.npz")
