import numpy as np
import pytest
import torch
from PIL import Image

from anogen import Run, fit, load_data
from anogen.checkpoint import previous_of
from anogen.errors import DataError, MachineError, UsageError


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "é" * 200])
def test_impossible_names(tmp_path, name):
    for make in (Run.vacant, Run.open):
        with pytest.raises(UsageError, match="the name of a run"):
            make(f"{tmp_path}/{name}")
    with pytest.raises(UsageError, match="the name of a run"), Run.creating(tmp_path / name):
        pass
    assert not list(tmp_path.iterdir())


def test_spaces_and_other_alphabets(tmp_path):
    path = tmp_path / "mein Lauf № 1 数字"
    with Run.creating(path) as run:
        (run.path / "x").touch()
        assert not path.exists()
    assert [entry.name for entry in path.iterdir()] == ["x"]


def test_of_two_that_make_one_run_the_first_wins_and_nothing_is_left(tmp_path):
    late = Run.creating(tmp_path / "run")
    (late.__enter__().path / "mine").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "theirs").touch()
    with pytest.raises(UsageError, match="exists already"):
        late.__exit__(None, None, None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["theirs"]


def test_a_metrics_line_that_a_crash_cut_short_is_no_row(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2, "lo')
    assert Run(tmp_path).metrics == [{"epoch": 1}]


def test_a_missing_checkpoint_is_found_under_its_old_name(noise, vae, tmp_path):
    run = fit(vae(noise.shape), noise, tmp_path / "run", epochs=1)
    run.checkpoint("best").rename(previous_of(run.checkpoint("best")))
    assert run.load_model("best").latent == 2


def test_a_damaged_checkpoint_offers_another(noise, vae, tmp_path):
    run = fit(vae(noise.shape), noise, tmp_path / "run", epochs=2)
    weights = run.checkpoint("best") / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3] + b"xyz")
    with pytest.raises(
        MachineError, match=r"weights.safetensors: does not match.*--checkpoint last"
    ):
        run.load_model()
    assert run.load_model("last").latent == 2


def test_the_loaded_model_is_the_trained_one(noise, vae, tmp_path):
    model = vae(noise.shape)
    run = fit(model, noise, tmp_path / "run", epochs=1)
    loaded = run.load_model("last")
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_data_comes_back_or_the_reason_why_not(trained, digits, noise, vae, tmp_path):
    with pytest.raises(DataError, match="the train images differ from those of the run"):
        trained.load_data()  # the fixture took 300 of the digits
    run = fit(vae(noise.shape), noise, tmp_path / "run", epochs=1)
    with pytest.raises(DataError, match="arrays in memory"):
        run.load_data()
    (tmp_path / "run" / "config.yaml").write_text("model: [")
    with pytest.raises(UsageError, match="not a valid configuration"):
        _ = run.config


def test_a_run_s_own_data_transformed_is_its_test_images(vae, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (100, 16, 16), np.uint8)
    folder = tmp_path / "with+plus"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("own.npy", "other.npy"):
        np.save(name, pixels)
    data = load_data("own.npy")
    run = fit(vae(data.shape), data, "run", epochs=1)
    for name in ("own.npy+blur", "./own.npy", str(folder / "own.npy+inversion")):
        assert len(run.load_other(name)) == len(data.test) == 10
    assert len(run.load_other("other.npy+blur")) == 100


def test_pictures_from_elsewhere_get_the_run_s_colours(vae, tmp_path):
    rng = np.random.default_rng(0)
    for name, shape in (("own", (16, 16, 3)), ("grey", (16, 16))):
        (tmp_path / name).mkdir()
        for index in range(20):
            pixels = rng.integers(0, 256, shape, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    data = load_data(tmp_path / "own")
    run = fit(vae(data.shape), data, tmp_path / "run", epochs=1)
    assert run.load_other(str(tmp_path / "grey")).shape == (3, 16, 16)
