"""An addition is one entry: what CONTRIBUTING says that it touches is enough for every command."""

import json
import re
from pathlib import Path

import pytest

from anogen import CORRUPTIONS, DATASETS, MODELS, SCORES, VAE
from anogen.data.corruptions import Corruption
from anogen.data.datasets import Bundled
from anogen.data.layouts import LAYOUTS, Found, Layout, Listing
from anogen.detection.view import Score
from anogen.evaluation.measures import MEASURES, Measure
from anogen.experiments.systems import SYSTEMS, System

ROOT = Path(__file__).parent.parent
TABLES = {
    "MODELS": "models/__init__.py", "MEASURES": "evaluation/measures.py",
    "DATASETS": "data/datasets.py", "LAYOUTS": "data/layouts.py",
    "CORRUPTIONS": "data/corruptions.py", "SYSTEMS": "experiments/systems.py",
}  # fmt: skip


class Wider(VAE):
    """A VAE under another name."""


@pytest.fixture
def run(anogen, noise_file, tmp_path):
    path = tmp_path / "run"
    done = anogen("train", "--data", noise_file, "--epochs", 1, "--model.width", 2, "--run", path)
    assert done.code == 0, done.err
    return path


def test_a_measure(anogen, run, monkeypatch):
    mean = Measure("mean level", "of the pixels", "lower", lambda seen: seen.x.flatten(1).mean(1))
    monkeypatch.setitem(MEASURES, "mean_level", mean)
    found = json.loads(anogen("evaluate", run, "--samples", 10, "--json").out)
    assert found["mean_level_low"] < found["mean_level"] < found["mean_level_high"]
    assert "mean level" in (run / "report.html").read_text("utf-8")
    compared = anogen("compare", run, "--samples", 10, "--out", run.parent / "compared")
    assert "mean_level" in compared.out, compared.err
    assert "mean level" in (run.parent / "compared" / "comparison.html").read_text("utf-8")


def test_a_score(anogen, run, noise_file, monkeypatch):
    monkeypatch.setitem(SCORES, "top", Score(lambda view: view.x.amax((1, 2, 3)), (), "1", "here"))
    outcome = anogen("detect", run, "--out", f"{noise_file}+blur", "--score", "top", "--fpr", 0.05)
    assert "top" in outcome.out, outcome.err
    assert anogen("score", run, noise_file, "--score", "top", "--fpr", 0.05).code == 0


def test_a_model(anogen, noise_file, tmp_path, monkeypatch):
    Wider.__module__ = "anogen.models.vae"  # as one that lies there
    monkeypatch.setattr("anogen.models.vae.Wider", Wider, raising=False)
    monkeypatch.setitem(MODELS, "Wider", Wider)
    outcome = anogen("train", "--model", "Wider", "--model.width", 2, "--data", noise_file,
                     "--epochs", 1, "--run", tmp_path / "run")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert anogen("evaluate", tmp_path / "run", "--samples", 10).code == 0


def test_a_transformation(anogen, noise_file, monkeypatch):
    dark = Corruption(lambda pixels, share, _: (pixels * share).astype("uint8"), 0.5, "share", 0, 1)
    monkeypatch.setitem(CORRUPTIONS, "dark", dark)
    assert anogen("data", f"{noise_file}+dark=0.1").code == 0
    assert "dark" in anogen("data").out


def test_a_data_set(anogen, monkeypatch):
    monkeypatch.setitem(
        DATASETS, "more-digits", Bundled("the same under another name", DATASETS["digits"].load)
    )
    assert "1437" in anogen("data", "more-digits+blur").out
    assert "under another name" in anogen("data").out


def test_a_layout(anogen, tmp_path, monkeypatch):
    from PIL import Image

    (tmp_path / "only").mkdir()
    for index in range(20):
        Image.new("L", (16, 16), index).save(tmp_path / "only" / f"{index}.png")

    def find(folder: Path) -> Found | None:
        inside = folder / "only"
        listing = Listing(inside, sorted(inside.iterdir()))
        return Found({"all": listing}, "the only one") if inside.is_dir() else None

    monkeypatch.setattr(
        "anogen.data.layouts.LAYOUTS", {"only": Layout("a folder only", find)} | LAYOUTS
    )
    outcome = anogen("data", tmp_path)
    assert "the only one" in outcome.err
    assert "only" not in outcome.out  # no class


def test_a_system(monkeypatch, tmp_path):
    from anogen.experiments.reproduce import reproduce
    from anogen.run import Run

    small = System("tiny", "VAE", "paper", "a test", {"latent": 3, "width": 2})
    monkeypatch.setitem(SYSTEMS, "tiny", small)
    monkeypatch.setattr("anogen.experiments.reproduce.SAMPLES", 20)
    page = reproduce(tmp_path, systems=["tiny"], epochs=1, limit=60, data="digits",
                     against="digits+inversion")  # fmt: skip
    assert "tiny" in page.read_text("utf-8")
    assert Run.open(tmp_path / "runs" / "tiny-0").load_model().latent == 3


def test_contributing_counts_the_files_as_they_are():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| an? [^|]+\|([^|]+)\|([^|]+)\| (\d) \|$", text, re.MULTILINE)
    assert len(rows) == 7
    for own, entry, count in rows:
        for table, file in re.findall(r"`([A-Z]+)` in `([^`]+)`", entry):
            assert TABLES[table] == file
            source = (ROOT / "src" / "anogen" / file).read_text("utf-8")
            assert re.search(rf"^{table}(: | = )", source, re.MULTILINE)
        beside = "that file's table" not in entry and own.strip() != "–"
        assert int(count) == 1 + beside


def test_tables_are_the_only_places_that_name_their_entries():
    """The name of a measure is written as a key nowhere else in `src/`, but for short headings."""
    files = list((ROOT / "src" / "anogen").rglob("*.py"))
    for name in ("kernel_distance", "class_kl_nats", "coverage"):
        places = [p for p in files if re.search(rf'"{name}":', p.read_text("utf-8"))]
        assert [p.name for p in places if p.name != "reproduce_page.py"] == ["measures.py"], name
