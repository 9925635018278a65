import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anogen import MODELS, VAE, Run, fit, load_data
from anogen.checkpoint import previous_of
from anogen.device import own_randomness
from anogen.errors import DataError, MachineError, UsageError
from anogen.models import rebuild


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


def test_loading_a_model_draws_nothing_and_waits_for_nobody(trained):
    """Even while another thread holds the random generators for a whole training."""
    state, loaded = torch.get_rng_state(), threading.Event()

    def load():
        trained.load_model()
        loaded.set()

    with own_randomness():
        torch.manual_seed(5)
        expected = torch.randn(3)
        torch.manual_seed(5)
        thread = threading.Thread(target=load)
        thread.start()
        assert loaded.wait(60)
        assert torch.equal(torch.randn(3), expected)
        thread.join()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loaded_model_can_be_used_whatever_was_set_while_it_was_loaded(trained, digits):
    plain = trained.load_model()
    x = torch.rand(2, *digits.shape)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            other = trained.load_model()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(other.reconstruct(x), plain.reconstruct(x))
    other.train().losses(x, 0).players["vae"].backward()  # not made of inference tensors
    assert all(p.requires_grad == q.requires_grad
               for p, q in zip(plain.parameters(), other.parameters(), strict=True))  # fmt: skip


@pytest.mark.parametrize("kind", ["looks", "hides"])
def test_models_that_cannot_be_made_without_weights_are_loaded_too(kind):
    class Looks(VAE):
        def __init__(self, shape, latent=2, **options):
            super().__init__(shape, latent, **options)
            self.first = float(self.encoder.head.weight.detach()[0, 0])

    class Hides(VAE):
        def __init__(self, shape, latent=2, **options):
            super().__init__(shape, latent, **options)
            self.register_buffer("ones", torch.ones(3), persistent=False)

    made = {"looks": Looks, "hides": Hides}[kind]
    first = made((1, 16, 16), width=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "Mine", made)
        again = rebuild({"class_path": "Mine", "init_args": first.arguments}, first.state_dict())
    assert not any(t.is_meta for t in (*again.parameters(), *again.buffers()))
    for name, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_run_is_shown_as_people_write_it(trained, monkeypatch):
    monkeypatch.chdir(trained.path.parent)
    assert Run.open("trained").shown == "trained"
    assert Run.open("trained").path.is_absolute()
    monkeypatch.chdir("/")
    assert Path("/", trained.shown) == trained.path
