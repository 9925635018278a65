"""`anogen restore`, and training for it, as in a shell."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from anogen import Restorer, Run, Splits, corrupt, fit, load_data, restore
from anogen.data.images import Images
from anogen.data.picture_files import Picture
from anogen.errors import DataError

from ..conftest import one_line

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run of a net that has learnt a little."""
    pixels = np.kron(RNG.integers(0, 256, (40, 1, 8, 8), np.uint8), np.ones((1, 1, 4, 4), np.uint8))
    images = Images(pixels, "squares")
    torch.manual_seed(0)
    model = Restorer(images.shape, corruption="gaussian_noise=0.1+holes=0.1..0.2", width=4)
    return fit(model, Splits(images[:30], images[30:35], images[35:]),
               tmp_path_factory.mktemp("runs") / "net", epochs=2, batch_size=10)  # fmt: skip


@pytest.fixture
def pictures(tmp_path):
    """Pictures of several kinds below a folder."""
    folder = tmp_path / "given"
    (folder / "deep").mkdir(parents=True)
    grey = RNG.integers(0, 256, (30, 20), np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(RNG.integers(0, 65536, (20, 24), np.uint16)).save(folder / "deep.tif")
    Image.fromarray(RNG.integers(0, 256, (20, 24, 3), np.uint8)).save(
        folder / "deep" / "colour.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0", dpi=(120, 120)
    )
    Image.fromarray(RNG.integers(0, 256, (20, 24, 4), np.uint8)).save(folder / "clear.webp")
    (folder / "broken.png").write_bytes(b"\x89PNG no picture")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_is_restored_and_gone_on_with(anogen, run, pictures, tmp_path):
    out = tmp_path / "out"
    first = anogen("restore", run.path, pictures, "--out", out, "--json")
    assert first.code == 0, first.err
    result = json.loads(first.out)
    assert (result["pictures"], result["errors"], result["method"]) == (5, 1, "net")
    assert "broken.png" in first.err
    assert "left out" in first.err
    names = ["clear.webp", "deep/colour.jpg", "deep.tif", "grey.png"]
    kinds = {name: Picture.read(pictures / name) for name in names}
    for name, given in kinds.items():
        found = Picture.read(out / name)
        assert (found.form, found.pixels.shape) == (given.form, given.pixels.shape)
        assert found.pixels.dtype == given.pixels.dtype
        assert not np.array_equal(found.pixels, given.pixels)
    assert np.array_equal(Picture.read(out / "clear.webp").alpha, kinds["clear.webp"].alpha)
    assert Picture.read(out / "deep/colour.jpg").about["dpi"] == (120, 120)
    assert len(np.unique(Picture.read(out / "deep.tif").pixels)) > 256
    times = {name: (out / name).stat().st_mtime_ns for name in names}
    Image.fromarray(RNG.integers(0, 256, (30, 20), np.uint8)).save(pictures / "grey.png")
    again = anogen("restore", run.path, pictures, "--out", out)
    assert again.code == 0
    assert "3 of 5 pictures had been restored before" in again.err
    after = {name: (out / name).stat().st_mtime_ns for name in names}
    assert [name for name in names if after[name] != times[name]] == ["grey.png"]
    with (out / "restored.jsonl").open("a") as file:
        file.write('{"file": "cut sho')  # as a crash leaves it
    assert "4 of 5" in anogen("restore", run.path, pictures, "--out", out).err


def test_originals_measure_and_the_page_shows(anogen, run, pictures, tmp_path):
    (pictures / "broken.png").unlink()
    arguments = ("--out", tmp_path / "o", "--originals", pictures, "--json")
    outcome = anogen("restore", run.path, pictures, *arguments)
    result = json.loads(outcome.out)
    assert result["psnr_before_db"] == pytest.approx(100)
    assert 5 < result["psnr_db"] < 60
    assert result["ssim_before"] == pytest.approx(1)
    page = (tmp_path / "o" / "restored.html").read_text("utf-8")
    assert page.count("<img") == 12
    assert "deep/colour.jpg" in page


def test_originals_may_come_later_and_results_take_the_place_of_nothing(
    anogen, run, pictures, tmp_path
):
    (pictures / "broken.png").unlink()
    clean, out = tmp_path / "clean", tmp_path / "out"
    shutil.copytree(pictures, clean)
    before = {path: path.read_bytes() for path in clean.rglob("*.*")}
    for place in (clean, clean.parent / "given" / ".." / "clean"):
        refused = anogen("restore", run.path, pictures, "--out", place, "--originals", clean)
        assert refused.code == 2
        assert "would be lost" in refused.err
    refused = anogen("restore", run.path, pictures, "--out", clean, "--mask", clean)
    assert refused.code == 2
    assert {path: path.read_bytes() for path in clean.rglob("*.*")} == before
    first = json.loads(anogen("restore", run.path, pictures, "--out", out, "--json").out)
    assert "psnr_db" not in first
    again = anogen("restore", run.path, pictures, "--out", out, "--originals", clean, "--json")
    assert json.loads(again.out)["psnr_db"] > 5
    (clean / "grey.png").write_bytes((clean / "clear.webp").read_bytes())
    changed = anogen("restore", run.path, pictures, "--out", out, "--originals", clean)
    assert "3 of 4 pictures had been restored before" in changed.err
    assert "the damaged picture has" in changed.err
    (pictures / "low").mkdir()
    shutil.copy(pictures / "grey.png", pictures / "low")
    refused = anogen("restore", run.path, pictures, "--out", tmp_path / "o")
    assert refused.code == 2
    assert "by itself" in refused.err


def test_what_one_picture_or_a_line_of_the_record_has_wrong_costs_that_one(anogen, run, tmp_path):
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    grey = Image.fromarray(RNG.integers(0, 256, (20, 20), np.uint8))
    grey.save(given / "a.png")
    assert anogen("restore", run.path, given, "--out", out).code == 0
    assert (out / "a.png").exists()
    good = json.loads((out / "restored.jsonl").read_text().splitlines()[0])
    for wrong in ({"seconds": "abc"}, {"psnr_db": float("nan")}, {"written": 5}, {"out": 3},
                  {"written": ["x" * 5000]}, {"psnr_db": True}):  # fmt: skip
        (out / "restored.jsonl").write_text(json.dumps(good | wrong) + "\n")
        outcome = anogen("restore", run.path, given / "a.png", "--out", out)
        assert outcome.code == 0, (wrong, outcome.err)
        assert "before" not in outcome.err
    odd = replace(Picture.read(given / "a.png"), form="TIFF", about={"dpi": ("x", None)})
    with pytest.raises(DataError, match="cannot be written as TIFF"):
        odd.content(odd.pixels)
    (out / "restored.jsonl").write_text(json.dumps(good | {"written": []}) + "\n")
    (out / "a.png").unlink()
    assert anogen("restore", run.path, given / "a.png", "--out", out).code == 0
    assert (out / "a.png").exists()


def test_results_may_lie_among_the_pictures(anogen, run, pictures, tmp_path):
    (pictures / "broken.png").unlink()
    for kept in ("", "4 of 4"):
        outcome = anogen("restore", run.path, pictures, "--out", pictures / "restored")
        assert outcome.code == 0, outcome.err
        assert kept in outcome.err
    empty = tmp_path / "empty"
    empty.mkdir()
    outcome = anogen("restore", run.path, pictures, "--out", tmp_path / "o", "--originals", empty)
    assert "no picture there has the name" in outcome.err
    refused = anogen("restore", run.path, pictures, "--out", tmp_path / "x", "--device", "tpu")
    assert refused.code == 2
    assert not (tmp_path / "x").exists()


def test_going_on_from_elsewhere_and_after_a_cut(anogen, run, pictures, tmp_path, monkeypatch):
    (pictures / "broken.png").unlink()
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    assert anogen("restore", run.path, "given", "--out", "out").code == 0
    with (out / "restored.jsonl").open("a") as file:
        file.write('{"file": "cut sho')  # as a crash leaves it
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Image.fromarray(RNG.integers(0, 256, (30, 20), np.uint8)).save(pictures / "grey.png")
    for kept in (3, 4):
        outcome = anogen("restore", run.path, "../given", "--out", "../out")
        assert outcome.code == 0, outcome.err
        assert f"{kept} of 4 pictures had been restored before" in outcome.err
    (out / "grey.png").unlink()
    assert "3 of 4" in anogen("restore", run.path, "../given", "--out", "../out").err
    assert (out / "grey.png").exists()


def test_intervals_from_the_shell(anogen, tmp_path):
    run, given = tmp_path / "run", tmp_path / "given"
    assert (
        anogen(
            "train",
            "--model",
            "Restorer",
            "--model.width",
            4,
            "--data",
            "digits",
            "--corruption",
            "gaussian_noise=0.2",
            "--epochs",
            1,
            "--run",
            run,
        ).code
        == 0
    )
    digits = load_data("digits").test
    for folder, images in (("clean", digits), ("given", corrupt(digits, "gaussian_noise=0.2"))):
        (tmp_path / folder).mkdir()
        for index in range(20):
            Image.fromarray(images.pixels[index, 0]).save(tmp_path / folder / f"{index}.png")
    arguments = ("--out", tmp_path / "out", "--originals", tmp_path / "clean", "--json")
    outcome = anogen("restore", run, given, *arguments, "--interval", 0.9)
    assert 0.8 < json.loads(outcome.out)["coverage"] < 0.97
    low, found, high = (np.asarray(Image.open(tmp_path / "out" / part / "3.png"))
                        for part in ("low", "", "high"))  # fmt: skip
    assert (low <= found).all()
    assert (found <= high).all()
    assert (low < high).any()


def test_files_that_other_programs_write(anogen, run, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    grey = RNG.integers(0, 256, (20, 24), np.uint8)
    deep = RNG.integers(0, 65536, (20, 24), np.uint16)
    Image.fromarray(grey).convert("1").save(folder / "bits.png")
    Image.fromarray(grey).convert("P").save(folder / "palette.png")
    Image.fromarray(RNG.integers(0, 256, (20, 24, 4), np.uint8), "CMYK").save(
        folder / "print.jpg", icc_profile=b"of inks"
    )
    Image.fromarray(deep).save(folder / "white.tif", tiffinfo={262: 0})
    assert anogen("restore", run.path, folder, "--out", tmp_path / "out").code == 0
    assert "icc_profile" not in Picture.read(tmp_path / "out" / "print.jpg").about
    found = Picture.read(tmp_path / "out" / "white.tif").pixels
    expected = restore(run, 65535 - deep).images
    assert np.array_equal(found, expected)


def test_a_mask_for_all_or_one_for_each(anogen, run, tmp_path):
    given = RNG.integers(0, 256, (24, 24), np.uint8)
    mask = np.zeros((24, 24), np.uint8)
    mask[:6] = 255
    for name, array in (("given.png", given), ("mask.png", mask)):
        Image.fromarray(array).save(tmp_path / name)
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask[::-1]).save(tmp_path / "masks" / "given.bmp")
    for masks, kept in (("mask.png", slice(6, None)), ("masks", slice(None, 18))):
        out = tmp_path / f"out-{masks}"
        outcome = anogen("restore", run.path, tmp_path / "given.png", "--out", out, "--mask",
                         tmp_path / masks)  # fmt: skip
        assert outcome.code == 0, outcome.err
        found = np.asarray(Image.open(out / "given.png"))
        assert np.array_equal(found[kept], given[kept])
        assert not np.array_equal(found, given)
    other = tmp_path / "small.png"
    Image.fromarray(mask[:5]).save(other)
    refused = anogen("restore", run.path, tmp_path / "given.png", "--out", tmp_path / "x", "--mask",
                     other)  # fmt: skip
    assert refused.code == 3
    assert "a mask of [1, 5, 24] does not fit 1 images of 24×24" in refused.err


def test_samples_of_a_vae(anogen, tmp_path, digits, vae):
    model = vae(digits.shape, corruption="gaussian_noise=0.2")
    run = fit(model, digits, tmp_path / "run", epochs=1, fit_sampler=False)
    Image.fromarray(digits.test.pixels[0, 0]).save(tmp_path / "digit.png")
    outcome = anogen("restore", run.path, tmp_path / "digit.png", "--out", tmp_path / "o",
                     "--samples", 3)  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "posterior" in outcome.out
    assert len(list((tmp_path / "o" / "samples").glob("*/digit.png"))) == 3


def test_bad_calls_are_one_line(anogen, run, pictures, tmp_path):
    grey, other = pictures / "grey.png", tmp_path / "grey.png"
    shutil.copy(grey, other)
    for code, arguments, message in (
        (3, [tmp_path / "none.png", "--out", tmp_path / "o"], "No such file or folder"),
        (2, [pictures, "--out", pictures], "would be lost"),
        (2, [grey, "--out", grey.parent], "would be lost"),
        (2, [pictures, other, "--out", tmp_path / "o"], "would both become grey.png"),
        (2, [grey, "--out", tmp_path / "o", "--method", "prior"], "choose net"),
        (2, [grey, "--out", tmp_path / "o", "--tile", 3], "tile must be"),
        (3, [grey, "--out", tmp_path / "o", "--mask", tmp_path / "none"], "No such file"),
        (3, [pictures / "broken.png", "--out", tmp_path / "o"], "broken.png"),
        (5, [grey, "--out", grey], "cannot be made"),
    ):
        outcome = anogen("restore", run.path, *arguments)
        assert outcome.code == code, (arguments, outcome.err)
        assert message in outcome.err
        assert "Traceback" not in outcome.err
    assert one_line(anogen("restore", tmp_path / "no", grey, "--out", tmp_path / "o"))


def test_colours_of_sixteen_bits_are_refused(anogen, run, tmp_path):
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + b"\x12\x34" * 6 for _ in range(2)))
    path = tmp_path / "deep.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows)
                     + chunk(b"IEND", b""))  # fmt: skip
    outcome = anogen("restore", run.path, path, "--out", tmp_path / "o")
    assert outcome.code == 3
    assert "16 bits for colours or opacity" in outcome.err


def test_training_by_the_short_name(anogen, noise_file, tmp_path):
    run = tmp_path / "run"
    options = ("--model.width", 4, "--epochs", 1, "--data", noise_file, "--run", run)
    outcome = anogen(
        "train", "--model", "Restorer", "--corruption", "gaussian_noise=0..0.3", *options
    )
    assert outcome.code == 0, outcome.err
    assert Run.open(run).config["model"]["init_args"]["corruption"] == "gaussian_noise=0..0.3"
    assert anogen("train", "--run", run, "--resume", "--epochs", 2).code == 0
    refused = anogen(
        "train", "--model", "GAN", "--corruption", "blur", *options[:-1], tmp_path / "g"
    )
    assert refused.code == 2
    assert "corruption" in refused.err
    assert one_line(anogen("sample", run))
    assert one_line(anogen("compare", run, "--out", tmp_path / "c"))
    assert anogen("evaluate", run).code == 0
    assert "Restored images" in (run / "report.html").read_text("utf-8")
