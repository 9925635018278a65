import pytest
import torch

from anogen import Run, fit
from anogen.checkpoint import previous_of
from anogen.errors import DataError, MachineError, UsageError


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "é" * 200])
def test_impossible_names(tmp_path, name):
    for make in (Run.create, Run.vacant, Run.open):
        with pytest.raises(UsageError, match="the name of a run"):
            make(f"{tmp_path}/{name}")
    assert not list(tmp_path.iterdir())


def test_spaces_and_other_alphabets(tmp_path):
    assert Run.create(tmp_path / "mein Lauf № 1 数字").path.is_dir()


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
    with pytest.raises(DataError, match="differs from that of the run"):
        trained.load_data()  # the fixture took 300 of the digits
    run = fit(vae(noise.shape), noise, tmp_path / "run", epochs=1)
    with pytest.raises(DataError, match="arrays in memory"):
        run.load_data()
    (tmp_path / "run" / "config.yaml").write_text("model: [")
    with pytest.raises(UsageError, match="not a valid configuration"):
        _ = run.config
