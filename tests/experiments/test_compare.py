"""Runs beside one another: measured alike, and grouped by all but their seed."""

import json
import shutil

import numpy as np
import pytest
import torch

from anogen import GAN, VAE, Run, fit
from anogen.errors import UsageError
from anogen.evaluation import features as features_module
from anogen.experiments.compare import Kind, compare
from anogen.experiments.compare_page import rows, write_comparison


@pytest.fixture(scope="module")
def runs(digits, tmp_path_factory) -> list[Run]:
    """A VAE with two seeds and a GAN, hardly trained."""
    folder = tmp_path_factory.mktemp("compared")
    made = []
    for name, model, seed in (("vae-0", VAE, 0), ("vae-1", VAE, 1), ("gan", GAN, 0)):
        torch.manual_seed(seed)
        made.append(fit(model(digits.shape, 2, width=4), digits, folder / name, epochs=1,
                        batch_size=50, seed=seed))  # fmt: skip
    return made


@pytest.fixture
def quick(tmp_path, monkeypatch, digits):
    """A cache of its own, a classifier of a few steps, and the digits of the fixture."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(features_module, "MIN_STEPS", 20)
    monkeypatch.setattr(Run, "load_data", lambda run, data_dir=None: digits)


@pytest.mark.usefixtures("quick")
def test_a_row_per_kind_with_an_interval_over_seeds(runs, tmp_path):
    found = compare(runs, samples=50)
    assert [(kind.name, len(kind.runs)) for kind in found.kinds] == [("VAE", 2), ("GAN", 1)]
    vae, gan = found.kinds
    mean, low, high = vae.summary("squared_error")
    assert low is not None
    assert high is not None
    assert low < mean < high
    own = [found.results[str(run.path)]["squared_error"] for run in vae.runs]
    assert mean == pytest.approx(np.mean(own))
    assert "squared_error" not in gan.values
    assert gan.summary("frechet_distance").low is None
    assert found.floors["frechet_distance"] < mean
    assert {"feature_extractor", "feature_extractor_accuracy"} == set(found.extractor)
    page = write_comparison(found, tmp_path / "out").read_text("utf-8")
    assert "VAE" in page
    assert "<script" not in page
    assert (tmp_path / "out" / "samples.png").exists()
    kept = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert kept["kinds"][0]["squared_error"]["mean"] == pytest.approx(mean)
    assert kept == json.loads(json.dumps(found.as_json()))
    shown = {row.key: row for row in rows(found)}
    assert shown["squared_error"].cells[1].value == ""
    assert sum(cell.best for cell in shown["frechet_distance"].cells) == 1


def test_an_interval_is_student_s():
    kind = Kind("x", (), {"loss": [1.0, 2.0, 3.0]})
    mean, low, high = kind.summary("loss")
    assert (mean, low, high) == pytest.approx(
        (2.0, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), rel=1e-4
    )


def test_what_cannot_be_compared_is_refused(runs, trained, noise, vae, tmp_path):
    with pytest.raises(UsageError, match="at least one run"):
        compare([])
    with pytest.raises(UsageError, match="named twice"):
        compare([runs[0], Run(runs[0].path)])
    copied = Run(tmp_path / "copy")
    shutil.copytree(runs[0].path, copied.path)
    with pytest.raises(UsageError, match="the same settings and the same seed"):
        compare([runs[0], copied])
    other = fit(vae(noise.shape), noise, tmp_path / "other", epochs=1, batch_size=16)
    with pytest.raises(UsageError, match="only runs of the same data and split compare"):
        compare([runs[0], other])


@pytest.mark.usefixtures("quick")
def test_the_command(anogen, runs, tmp_path):
    paths = [run.path for run in runs[1:]]
    outcome = anogen("compare", *paths, "--samples", 40, "--out", tmp_path / "page", "--json")
    assert outcome.code == 0, outcome.err
    assert [kind["name"] for kind in json.loads(outcome.out)["kinds"]] == ["VAE", "GAN"]
    (tmp_path / "file").touch()
    for arguments, message in (
        (["compare", paths[0], tmp_path / "none"], "there is no run"),
        (["compare", paths[0], paths[0]], "named twice"),
        (["compare", paths[0], "--out", tmp_path / "file"], "there is a file of that name"),
        (["compare", paths[0], "--samples", 1], "samples must be at least 2"),
    ):
        refused = anogen(*arguments)
        assert refused.code == 2
        assert message in refused.err
