"""`anogen translate`, and training for it, as in a shell."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from anogen import Run, Translator, fit, load_data, translate

from ..conftest import one_line

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run of a net that has learnt a little, between two kinds of squares."""
    folder = tmp_path_factory.mktemp("pairs") / "squares"
    for number in range(30):
        pixels = np.kron(RNG.integers(0, 256, (4, 4), np.uint8), np.ones((4, 4), np.uint8))
        for name, picture in (("plain", pixels), ("negative", 255 - pixels)):
            path = folder / name / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    data = load_data(folder, pairs="names")
    torch.manual_seed(0)
    model = Translator(data.shape, width=4, code=2)
    path = tmp_path_factory.mktemp("runs") / "run"
    return fit(model, data, path, epochs=3, batch_size=8)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "given"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(RNG.integers(0, 256, (16, 16), np.uint8)).save(folder / "grey.png")
    Image.fromarray(RNG.integers(0, 256, (20, 24, 3), np.uint8)).save(folder / "deep" / "c.jpg")
    Image.fromarray(RNG.integers(0, 256, (20, 24, 4), np.uint8)).save(folder / "clear.webp")
    Image.fromarray(RNG.integers(0, 65536, (20, 24), np.uint16)).save(folder / "deep.tif")
    (folder / "broken.png").write_bytes(b"\x89PNG no picture")
    return folder


def test_a_folder_is_translated_and_gone_on_with(anogen, run, pictures, tmp_path):
    out = tmp_path / "out"
    call = ("translate", run.path, pictures, "--to", "negative", "--out", out, "--json")
    first = anogen(*call)
    assert first.code == 0, first.err
    result = json.loads(first.out)
    assert (result["pictures"], result["errors"], result["to"]) == (5, 1, "negative")
    assert result["cycle_error"] > 0
    assert "broken.png: not translated" in first.err
    pixels = np.asarray(Image.open(pictures / "grey.png"))
    found = np.asarray(Image.open(out / "grey.png"))
    assert np.array_equal(found, translate(run, pixels, to="negative").images)
    for name, form in (("deep/c.jpg", "JPEG"), ("clear.webp", "WEBP"), ("deep.tif", "TIFF")):
        with Image.open(out / name) as picture:
            assert (picture.size, picture.format) == ((16, 16), form)
    page = (out / "translated.html").read_text()
    for words in ("as plain", "as negative", "back from negative", "lost", "Not translated"):
        assert words in page
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    again = anogen(*call)
    assert "4 of 5 pictures had been translated before" in again.err
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    other = anogen("translate", run.path, pictures, "--to", "plain", "--out", out)
    assert "before" not in other.err
    assert not np.array_equal(np.asarray(Image.open(out / "grey.png")), found)


def test_targets_measure_and_samples_lie_beside(anogen, run, tmp_path):
    given, true = tmp_path / "given", tmp_path / "true"
    for folder in (given, true):
        folder.mkdir()
        for name in "ab":
            Image.fromarray(RNG.integers(0, 256, (16, 16), np.uint8)).save(folder / f"{name}.png")
    call = ("translate", run.path, given, "--to", "plain", "--out", tmp_path / "out",
            "--targets", true, "--samples", "2", "--source", "negative", "--json")  # fmt: skip
    result = json.loads(anogen(*call).out)
    assert {"psnr_db", "psnr_before_db", "ssim", "ssim_before"} <= set(result)
    rows = list(map(json.loads, (tmp_path / "out/translated.jsonl").read_text().splitlines()))
    assert [row["source"] for row in rows] == ["negative", "negative"]
    assert rows[0]["written"] == ["a.png", "samples/1/a.png", "samples/2/a.png"]
    assert ">true<" in (tmp_path / "out/translated.html").read_text()
    shutil.copy(true / "b.png", true / "a.png")  # another truth, other numbers
    assert json.loads(anogen(*call).out)["psnr_db"] != result["psnr_db"]


def test_what_was_there_stays_and_what_is_no_more_true_goes(anogen, run, tmp_path):
    given, out = tmp_path / "given", tmp_path / "out"
    for folder in (given, out):
        folder.mkdir()
        for name in "ab":
            Image.fromarray(RNG.integers(0, 256, (16, 16), np.uint8)).save(folder / f"{name}.png")
    (out / "b.png").unlink()
    mine = (out / "a.png").read_bytes()
    call = ("translate", run.path, given, "--out", out, "--to")
    found = anogen(*call, "plain", "--samples", "2")
    assert "a.png: is there already and no result" in found.err
    assert (out / "a.png").read_bytes() == mine
    assert (out / "samples/2/b.png").exists()
    assert anogen(*call, "negative", "--samples", "1").code == 0
    assert (out / "samples/1/b.png").exists()
    assert not (out / "samples/2/b.png").exists()
    refused = anogen(*call, "plain", "--targets", out)
    assert refused.code == 2
    assert "would be lost, or be taken for results" in refused.err


def test_the_cost_of_a_translator(anogen):
    found = anogen("doctor", "--model", "Translator")
    assert found.code == 0, found.err
    assert "discriminator" in found.out


def test_bad_calls_are_one_line(anogen, run, pictures, tmp_path):
    out = tmp_path / "out"
    good = ["translate", run.path, pictures, "--out", out, "--to", "plain"]
    calls = [
        ([*good[:-1], "plane"], 2, "did you mean 'plain'"),
        (good[:5], 2, "required: to"),
        ([*good, "--source", "other"], 2, "unknown domain 'other'"),
        ([*good, "--samples", "-1"], 2, "samples"),
        ([*good, "--seed", "-1"], 2, "seed"),
        ([*good, "--targets", tmp_path / "none"], 3, "No such file"),
        (["translate", run.path, tmp_path / "none", "--out", out, "--to", "plain"], 3, "No such"),
        (["translate", run.path, pictures, "--out", pictures, "--to", "plain"], 2, "would be lost"),
        (["translate", tmp_path, pictures, "--out", out, "--to", "plain"], 2, "no run"),
    ]
    for call, code, words in calls:
        found = anogen(*call)
        assert found.code == code, found.err
        assert one_line(found)
        assert words in found.err
        assert not (out / "grey.png").exists()


def test_training_and_evaluation_from_the_shell(anogen, tmp_path):
    run = tmp_path / "run"
    made = anogen(
        "train", "--model", "Translator", "--preset", "recommended", "--model.width", "4",
        "--data", "digits,digits+inversion", "--limit", "200", "--pairs", "order", "--epochs", "1",
        "--run", run,
    )  # fmt: skip
    assert made.code == 0, made.err
    config = Run.open(run).config
    assert config["model"]["init_args"]["classes"] == 2
    assert (config["pairs"], config["balance"]) == ("order", True)
    found = anogen("evaluate", run, "--samples", "0", "--adaptation_steps", "5", "--json")
    assert found.code == 0, found.err
    rows = json.loads(found.out)["translations"]
    assert {row["to"] for row in rows} == {"digits", "digits+inversion"}
    shown = anogen("evaluate", run, "--samples", "0", "--adaptation_steps", "0", "--page", "false")
    assert "digits to digits+inversion" in shown.out
    page = (run / "report.html").read_text()
    assert "what they become in every domain" in page
    assert "SSIM with the true ones" in page
    new = anogen("sample", run, "--label", "digits", "--count", "4", "--out", tmp_path / "new.npy")
    assert new.code == 0, new.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--data", "{folder}"), "two domains or more, found classes 0"),
        (("--data", "digits,digits+blur", "--model.classes", "3"), "has 2 labels"),
        (("--data", "digits,digits+blur", "--model.classes", "1"), "two domains or more"),
        (("--data", "digits,digits+blur", "--pairs", "names"), "paired by their order"),
    ],
)
def test_data_without_domains(anogen, tmp_path, options, words):
    for number in range(12):
        Image.fromarray(RNG.integers(0, 256, (16, 16), np.uint8)).save(tmp_path / f"{number}.png")
    options = [option.format(folder=tmp_path) for option in options]
    found = anogen("train", "--model", "Translator", *options, "--run", tmp_path / "run")
    assert found.code == 2
    assert one_line(found)
    assert words in found.err
