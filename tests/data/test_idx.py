import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anogen.data.arrays import read_idx_images
from anogen.data.idx import read_idx
from anogen.errors import DataError


def idx_bytes(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress])
def test_reads_what_was_written(tmp_path, pack):
    path = written(tmp_path / "x-idx3-ubyte", pack(idx_bytes(IMAGES)))
    assert np.array_equal(read_idx(path), IMAGES)


@given(count=st.integers(0, 66), compress=st.booleans())
def test_every_truncation_is_refused(tmp_path_factory, count, compress):
    content = gzip.compress(idx_bytes(IMAGES)) if compress else idx_bytes(IMAGES)
    path = written(
        tmp_path_factory.mktemp("cut") / "x-idx3-ubyte", content[: min(count, len(content) - 1)]
    )
    with pytest.raises(DataError, match="x-idx3-ubyte"):
        read_idx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!doctype html><title>404</title>", "HTML page"),
        (b"\x00\x00\x0d\x03" + bytes(100), "wrong magic number 00000d03"),
        (b"\x1f\x8b\x08 this is not gzip", "damaged gzip"),
        (idx_bytes(IMAGES) + b"x", "longer than the 60 bytes"),
        (gzip.compress(idx_bytes(IMAGES) + b"x"), "longer than the 60 bytes"),
        (gzip.compress(idx_bytes(IMAGES))[:-8] + bytes(8), "damaged gzip"),
        (idx_bytes(IMAGES)[:4] + struct.pack(">3I", 60_000, 28, 28), "promises 47040000 bytes"),
    ],
    ids=["html", "magic", "not gzip", "too long", "gzip too long", "bad crc", "count"],
)
def test_damage_is_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_idx(written(tmp_path / "file", content))


def test_gzip_bomb_is_not_unpacked(tmp_path):
    bomb = gzip.compress(idx_bytes(IMAGES) + bytes(200_000_000), compresslevel=6)
    path = written(tmp_path / "bomb-idx3-ubyte.gz", bomb)
    tracemalloc.start()
    with pytest.raises(DataError, match="longer than"):
        read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_idx(tmp_path / "absent")


def test_labels_come_from_the_file_beside(tmp_path):
    path = written(tmp_path / "train-images-idx3-ubyte", idx_bytes(IMAGES))
    labels = tmp_path / "train-labels-idx1-ubyte"
    written(labels, idx_bytes(np.array([2, 0, 1], np.uint8)))
    images = read_idx_images(path)
    assert images.labels is not None
    assert images.labels.tolist() == [2, 0, 1]
    written(labels, idx_bytes(np.array([2, 0], np.uint8)))
    with pytest.raises(DataError, match="2 labels for 3 images"):
        read_idx_images(path)
    with pytest.raises(DataError, match="holds labels, not images"):
        read_idx_images(labels)
