"""`anogen sample --text`, `anogen search`, and training on captions, as in a shell."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from anogen import GAN, VAE, Run, draw_scenes, fit, load_data, search, split
from anogen.errors import DataError, UsageError

from ..conftest import one_line, small_vae


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run on a few scenes."""
    images, _ = draw_scenes(60, load_data("digits").train, size=32)
    torch.manual_seed(0)
    model = GAN((3, 32, 32), latent=4, text=8, width=4)
    path = tmp_path_factory.mktemp("runs") / "run"
    return fit(model, split(images), path, epochs=1, batch_size=16, monitor="loss_generator")


@pytest.fixture
def captioned(tmp_path):
    """Forty squares in three colours, with captions."""
    folder = tmp_path / "captioned"
    folder.mkdir()
    lines = ["file_name,text"]
    for number in range(40):
        colour = ("red", "green", "blue")[number % 3]
        Image.new("RGB", (16, 16), colour).save(folder / f"{number}.png")
        lines.append(f"{number}.png,a {colour} square")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


def test_a_picture_of_a_text(anogen, run, tmp_path):
    asked = anogen("sample", run.path, "--text", "a {red,blue} 7", "--count", 3)
    assert asked.code == 0, asked.err
    assert asked.out.strip() == str(run.figures / "asked.png")
    between = anogen("sample", run.path, "--picture", "between", "--text", "a 7", "--text", "a 2")
    assert between.out.strip().endswith("between.png")
    alone = tmp_path / "seven.png"
    assert anogen("sample", run.path, "--text", "a 7", "--count", 1, "--out", alone).code == 0
    with Image.open(alone) as picture:
        assert picture.size == (32, 32)


def test_files_and_arrays_of_texts(anogen, run, tmp_path):
    (tmp_path / "asked.txt").write_text("a red 7\n\na blue 2\n")
    call = ("sample", run.path, "--texts", tmp_path / "asked.txt", "--count", 2)
    files = anogen(*call, "--out", tmp_path / "new")
    assert [line.rpartition("/")[2] for line in files.out.split()] == [
        "0001.png", "0002.png", "0003.png", "0004.png",
    ]  # fmt: skip
    assert anogen(*call, "--out", tmp_path / "new.npy").code == 0
    pixels = np.load(tmp_path / "new.npy")
    assert pixels.shape == (4, 3, 32, 32)
    for number in range(4):
        with Image.open(tmp_path / "new" / f"{number + 1:04}.png") as picture:
            assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), pixels[number])
    again = anogen(*call, "--out", tmp_path / "again.npy", "--seed", 1, "--guidance", 2)
    assert again.code == 0
    assert not np.array_equal(np.load(tmp_path / "again.npy"), pixels)


def test_search_orders_pictures_and_texts(anogen, run, captioned, tmp_path):
    for path in captioned.glob("*.png"):
        with Image.open(path) as picture:
            picture.resize((32, 32)).save(path)
    (captioned / "broken.png").write_bytes(b"no picture")
    found = anogen("search", run.path, "a red square", captioned, "--top", 4, "--json")
    assert found.code == 3
    assert "broken.png" in found.err
    result = json.loads(found.out)
    assert (result["pictures"], result["errors"], len(result["found"])) == (41, 1, 4)
    fits = [row["fit"] for row in result["found"]]
    assert fits == sorted(fits, reverse=True)
    (tmp_path / "texts.txt").write_text("a red square\na 7\n")
    best = anogen("search", run.path, "--captions", tmp_path / "texts.txt", captioned / "0.png")
    assert best.code == 0, best.err
    lines = best.out.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith(("a red square", "a 7"))
    each = search(run, ["a red square", "a 7"], captioned / "0.png")
    assert float(lines[1].split()[0]) == pytest.approx(max(each[0].fits), abs=1e-3)


def test_search_refuses_what_makes_no_sense(run, tmp_path, trained):
    with pytest.raises(UsageError, match="empty text"):
        search(run, " ", tmp_path)
    with pytest.raises(UsageError, match="takes no texts"):
        search(trained, "a", tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="no picture could be read"):
        search(run, "a 7", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--text", "a", "--label", "3"), "conditional on labels or on texts"),
        (("--label", "3"), "takes texts; give --text"),
        (("--picture", "between", "--text", "a"), "two texts"),
        (("--picture", "between"), "need a --text"),
        (("--guidance", "2"), "need a --text"),
        (("--text", "a {b"), "brace"),
        (("--texts", "no/such.txt"), "No such file"),
        (("--text", "a", "--picture", "latent_grid"), "makes samples, or the picture between"),
        (("--text", "a", "--out", "a.jpg"), "ending in .png or .npy"),
        (("--text", "a", "--best_of", "0"), "best_of"),
        (("--text", "a", "--guidance", "nan"), "expected a number"),
        (("--picture", "between", "--text", "a", "--guidance", "2"), "not for the picture between"),
        (("--text", "{a,b,c,d,e,f,g} {1,2,3,4,5,6}"), "too many for one picture"),
    ],
)
def test_one_line_says_what_is_wrong_with_a_request(anogen, run, arguments, message):
    outcome = anogen("sample", run.path, *arguments)
    assert outcome.code in (2, 3)
    assert one_line(outcome)
    assert message in outcome.err


def test_a_run_without_texts_takes_none(anogen, trained):
    outcome = anogen("sample", trained.path, "--text", "a red seven")
    assert outcome.code == 2
    assert one_line(outcome)
    assert "takes no texts" in outcome.err


def test_captions_are_learnt_from_where_a_text_is_asked_for_only(anogen, captioned, tmp_path):
    plain = anogen("train", "--data", captioned, "--epochs", 1, "--run", tmp_path / "plain")
    assert plain.code == 0, plain.err
    assert not Run.open(tmp_path / "plain").load_model().takes_text  # so that it may detect
    asked = anogen("train", "--data", captioned, "--model", "VAE", "--model.width", 4,
                   "--model.text", 8, "--epochs", 1, "--run", tmp_path / "asked")  # fmt: skip
    assert asked.code == 0, asked.err
    assert Run.open(tmp_path / "asked").load_model().takes_text


def test_training_needs_captions(anogen, noise_file, tmp_path):
    outcome = anogen("train", "--model", "GAN", "--preset", "text", "--data", noise_file,
                     "--epochs", 1, "--run", tmp_path / "run")  # fmt: skip
    assert outcome.code == 3
    assert one_line(outcome)
    assert "has no captions" in outcome.err
    assert not (tmp_path / "run").exists()


def test_evaluation_measures_texts_and_shows_captions(anogen, run, tmp_path, monkeypatch):
    monkeypatch.setattr("anogen.evaluation.texts.EPOCHS", 1)
    monkeypatch.setattr("anogen.evaluation.texts.MIN_STEPS", 1)
    images, _ = draw_scenes(60, load_data("digits").train, size=32)
    np.savez(tmp_path / "scenes.npz", images=images.pixels,
             captions=np.array([texts[0] for texts in images.captions]))  # fmt: skip
    small = ("--model.width", 4, "--model.text", 8, "--model.latent", 4)
    trained = anogen("train", "--model", "GAN", *small, "--data", tmp_path / "scenes.npz",
                     "--epochs", 1, "--monitor", "loss_generator",
                     "--run", tmp_path / "run")  # fmt: skip
    assert trained.code == 0, trained.err
    outcome = anogen("evaluate", tmp_path / "run", "--samples", 20, "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert 0 <= result["r_precision"] <= 1
    assert result["variety"] >= 0
    assert (tmp_path / "run" / "figures" / "captions.png").is_file()
    assert "captions found" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_small_models_of_labels_still_ignore_captions(tmp_path):
    images, _ = draw_scenes(60, load_data("digits").train, size=32)
    model = small_vae((3, 32, 32))
    assert isinstance(model, VAE)
    assert fit(model, split(images), tmp_path / "run", epochs=1).metrics
