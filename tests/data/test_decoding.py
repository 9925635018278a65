"""Many pictures: the same whether in memory, from the cache or decoded on demand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import anogen
from anogen.data import decoding
from anogen.data.images import Selection
from anogen.data.pictures import Pictures
from anogen.errors import DataError


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for index in range(30):
        pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{index:02}.png")
    return tmp_path / "pictures"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "anogen" / "pictures"


@pytest.fixture
def large(monkeypatch) -> None:
    """Every folder counts as a large one."""
    monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", 0)


def whole(data: anogen.Splits) -> list[bytes]:
    parts = (data.train, data.validation, data.test)
    return [image.tobytes() for part in parts for image in part.pixels[:]]


def test_a_large_folder_is_decoded_once_into_the_cache(folder, cache, monkeypatch, capsys):
    held = anogen.load_data(folder)
    assert isinstance(held.train.pixels, np.ndarray)
    assert not cache.exists()
    monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", 0)
    mapped = anogen.load_data(folder)
    assert isinstance(mapped.train.pixels, Selection)
    assert whole(mapped) == whole(held)
    assert mapped.train.sha256 == held.train.sha256
    (file,) = cache.iterdir()
    assert str(file) in capsys.readouterr().err
    monkeypatch.setattr(Pictures, "read", lambda *_: pytest.fail("decoded again"))
    assert whole(anogen.load_data(folder)) == whole(held)
    moved = folder.rename(folder.with_name("elsewhere"))
    assert whole(anogen.load_data(moved)) == whole(held)  # known by its content


def test_other_pictures_and_other_readings_have_files_of_their_own(folder, cache, large):
    anogen.load_data(folder)
    anogen.load_data(folder, image_size=16)
    anogen.load_data(folder, channels=1)
    assert len(list(cache.iterdir())) == 3
    Image.new("RGB", (24, 20)).save(folder / "05.png")
    assert b"\0" * 24 * 20 * 3 in whole(anogen.load_data(folder))
    assert len(list(cache.iterdir())) == 4


def test_a_damaged_cache_is_made_again(folder, cache, large):
    expected = whole(anogen.load_data(folder))
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:500])
    assert whole(anogen.load_data(folder)) == expected
    file.write_bytes(b"")
    assert whole(anogen.load_data(folder)) == expected


@pytest.mark.parametrize("reason", ["full", "closed", "homeless"])
def test_without_a_cache_pictures_are_decoded_on_demand(folder, cache, monkeypatch, capsys, reason):
    expected = whole(anogen.load_data(folder))
    monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", 0)
    if reason == "full":
        monkeypatch.setattr(decoding, "SPARE_BYTES", 1 << 60)
    elif reason == "closed":
        cache.parent.parent.mkdir(exist_ok=True)
        cache.parent.write_text("a file in the place of the folder")
    else:
        monkeypatch.setattr(decoding, "cache_dir", lambda: None)
    data = anogen.load_data(folder)
    assert "decoded each time" in capsys.readouterr().err
    assert whole(data) == expected
    chosen = data.train[np.array([3, 1])]
    assert np.array_equal(chosen.pixels[:], data.train.pixels[:][[3, 1]])
    assert list(cache.parent.parent.rglob("*.npy")) == []


def test_a_failure_leaves_nothing_half_written(folder, cache, large):
    content = (folder / "20.png").read_bytes()
    (folder / "20.png").write_bytes(content[:600] + bytes(300) + content[900:])  # a sound header
    with pytest.raises(DataError, match=r"20\.png: damaged"):
        anogen.load_data(folder)
    assert list(cache.iterdir()) == []


def test_training_from_the_cache_equals_training_from_memory(
    folder, cache, monkeypatch, tmp_path, vae
):
    ends = []
    for name, most in (("held", 1 << 30), ("mapped", 0)):
        monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", most)
        data = anogen.load_data(folder)
        run = anogen.fit(vae(data.shape), data, tmp_path / name, epochs=2, batch_size=8)
        ends.append(run.metrics[-1]["validation_loss_vae"])
    assert ends[0] == ends[1]


def test_headers_say_what_is_decoded(folder, tmp_path):
    sideways = Image.Exif()
    sideways[0x0112] = 6
    Image.open(folder / "00.png").save(tmp_path / "turned.jpg", exif=sideways)
    Image.new("LA", (7, 9)).save(tmp_path / "grey.png")
    Image.new("P", (7, 9)).save(tmp_path / "palette.png")
    Image.fromarray(np.zeros((9, 7), np.uint16)).save(tmp_path / "deep.png")
    for name in ("turned.jpg", "grey.png", "palette.png", "deep.png"):
        for pictures in (
            Pictures(),
            Pictures(8, "pad"),
            Pictures(channels=1),
            Pictures(channels=3),
        ):
            height, width, channels = pictures.read(tmp_path / name).shape
            assert pictures.shape_of(tmp_path / name) == (channels, height, width)


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("grey", 128), ("black", 0)])
def test_padding_keeps_the_whole_picture(tmp_path, background, level):
    Image.new("RGB", (20, 10), (200, 0, 0)).save(tmp_path / "a.png")
    found = Pictures(16, "pad", background=background).read(tmp_path / "a.png")
    assert found.shape == (16, 16, 3)
    assert (found[4:12] == [200, 0, 0]).all()
    assert (found[:4] == level).all()
    assert (found[12:] == level).all()


def test_a_mapped_file_does_not_stay_in_memory(tmp_path):
    """Reading 200 MB in parts leaves this process no larger."""
    np.save(tmp_path / "a.npy", np.ones((50_000, 64, 64), np.uint8))
    data = anogen.load_data(tmp_path / "a.npy")

    def resident() -> int:
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * 4096

    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not say how much memory a process has")
    before = resident()
    assert data.train.sha256
    assert resident() - before < 60_000_000
