"""The command line as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from anogen import MODELS, Run, fit
from anogen.cli.main import COMMANDS
from anogen.nets import fused
from anogen.presets import presets

from ..conftest import one_line

BOMB = "a: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
) + "monitor: *a11\n"  # fmt: skip
"""A few lines of YAML that stand for 10¹¹ entries."""
SMALL = ("--model.width", 4, "--epochs", 2, "--batch_size", 50)


@pytest.fixture
def run(anogen, noise_file, tmp_path) -> Path:
    outcome = anogen("train", "--data", noise_file, "--run", tmp_path / "run", *SMALL)
    assert outcome.code == 0
    assert outcome.out.strip() == str(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_on_everything(anogen, command):
    outcome = anogen(*filter(None, [command]), "--help")
    assert outcome.code == 0
    assert "usage: anogen" in outcome.out
    if command:
        assert outcome.out.startswith(f"Example: anogen {command}")
    if command is None:
        assert all(name in outcome.out for name in COMMANDS)


def test_help_of_train_names_every_setting_and_that_of_a_model_every_argument(anogen):
    text = anogen("train", "--help").out
    assert all(word in text for word in ("--ema_decay", "--data", "--preset", "--resume"))
    text = anogen("train", "--model.help", "VAE").out
    assert all(word in text for word in ("--model.beta", "--model.latent", "weight of the KL"))


def test_version(anogen):
    assert anogen("--version").out.startswith("anogen 0.")


@pytest.mark.parametrize("arguments", [["--help"], ["data"], ["data", "--json"], ["--version"],
                                       ["train", "--help"]])  # fmt: skip
def test_light_commands_do_not_import_torch(arguments):
    script = (
        "import sys; from contextlib import suppress; from anogen.cli.main import main\n"
        "with suppress(SystemExit): main(sys.argv[1:])\n"
        "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True)
    assert done.returncode == 0, done.stderr


def test_import_anogen_is_light():
    script = "import anogen, sys; sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_train_evaluate_sample(anogen, run, tmp_path):
    outcome = anogen("evaluate", run, "--json", "--importance_samples", 2)
    assert outcome.code == 0
    result = json.loads(outcome.out)
    assert result["squared_error_low"] < result["squared_error"] < result["squared_error_high"]
    kept = json.loads((run / "evaluation.json").read_text())
    assert "--importance_samples 2" in kept.pop("call")
    assert result == kept
    assert (run / "report.html").stat().st_size > 10_000
    assert (run / "figures" / "loss_vae_curve.png").exists()
    text = anogen("evaluate", run, "--importance_samples", 2)
    assert "cosine_similarity" in text.out
    assert "report.html" in text.out
    drawn = anogen("sample", run, "--count", 30, "--out", tmp_path / "new.npy")
    assert drawn.code == 0
    array = np.load(tmp_path / "new.npy")
    assert array.shape == (30, 1, 16, 16)
    assert array.dtype == np.uint8
    again = anogen("sample", run, "--count", 30, "--out", tmp_path / "again.npy")
    assert again.code == 0
    assert np.array_equal(array, np.load(tmp_path / "again.npy"))
    shown = anogen("sample", run, "--picture", "traversal")
    assert Path(shown.out.strip()).exists()


def test_sampling_by_label_mixture_and_truncation(anogen, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (200, 16, 16), np.uint8)
    np.savez(tmp_path / "two.npz", images=pixels, labels=np.array(["cat", "dog"] * 100))
    made = {}
    for model, options in (("VAE", ["--model.classes", 2]), ("StyleGAN", [])):
        made[model] = tmp_path / model
        outcome = anogen("train", "--model", model, "--data", tmp_path / "two.npz", "--epochs", 1,
                         "--model.width", 4, *options, "--run", made[model])  # fmt: skip
        assert outcome.code == 0, outcome.err
    arrays = {}
    for name, options in {
        "any": [],
        "dog": ["--label", "dog"],
        "mix": ["--sampler", "mixture"],
        "prior": ["--sampler", "prior"],
    }.items():
        out = tmp_path / f"{name}.npy"
        outcome = anogen("sample", made["VAE"], "--count", 9, "--out", out, *options)
        assert outcome.code == 0, outcome.err
        arrays[name] = np.load(out)
    assert not np.array_equal(arrays["any"], arrays["dog"])
    assert np.array_equal(arrays["any"], arrays["mix"])  # which was kept with the run
    assert not np.array_equal(arrays["any"], arrays["prior"])
    assert anogen("sample", made["VAE"], "--label", "cat").code == 0
    for picture in ("style_mixing", "truncation"):
        assert anogen("sample", made["StyleGAN"], "--picture", picture).code == 0
    assert anogen("sample", made["StyleGAN"], "--truncation", 0.5).code == 0
    for run, options, message in (
        ("VAE", ["--label", "cow"], "unknown label 'cow'"),
        ("VAE", ["--truncation", 0.5], "is for style-based models"),
        ("VAE", ["--picture", "truncation"], "cannot make the picture"),
        ("VAE", ["--picture", "traversal", "--label", "cat"], "are for samples"),
        ("StyleGAN", ["--label", "cat"], "is not conditional; train with --model.classes"),
        ("StyleGAN", ["--truncation", 2], "must lie in"),
        ("StyleGAN", ["--sampler", "mixture"], "does not encode images"),
    ):
        refused = anogen("sample", made[run], *options)
        assert refused.code == 2
        assert message in refused.err


def test_evaluate_on_other_data_leaves_the_run_alone(anogen, run, noise_file):
    before = sorted(run.rglob("*"))
    outcome = anogen("evaluate", run, "--data", f"{noise_file}+blur", "--json")
    assert json.loads(outcome.out)["data"] == "noise+blur"
    assert sorted(run.rglob("*")) == before


def test_the_config_of_a_run_repeats_it(anogen, run, tmp_path):
    outcome = anogen("train", "--config", run / "config.yaml", "--run", tmp_path / "again")
    assert outcome.code == 0
    rows = [Run.open(path).metrics[-1]["validation_loss_vae"] for path in (run, tmp_path / "again")]
    assert rows[0] == rows[1]


def test_resume_extends_and_takes_the_run_s_settings(anogen, run):
    outcome = anogen("train", "--run", run, "--resume", "--epochs", 3)
    assert outcome.code == 0
    assert len(Run.open(run).metrics) == 3
    refused = anogen("train", "--run", run, "--resume", "--batch_size", 7)
    assert refused.code == 2
    assert "begun with batch_size 50, now 7" in refused.err


def test_print_config_shows_the_preset_with_overrides(anogen, tmp_path):
    outcome = anogen(
        "train", "--preset", "paper", "--model.latent", 3, "--run", "x", "--print_config"
    )
    config = yaml.safe_load(outcome.out)
    assert config["model"]["init_args"]["latent"] == 3
    assert (config["epochs"], config["batch_size"], config["learning_rate"]) == (50, 32, 5e-4)


@pytest.mark.parametrize(
    ("model", "name"), [(model, name) for model, own in presets().items() for name in own]
)
def test_every_preset_trains(anogen, noise_file, tmp_path, model, name):
    data = f"{noise_file},{noise_file}+inversion" if model == "Translator" else noise_file
    if name == "text":
        data, images = tmp_path / "captioned.npz", np.load(noise_file)["images"][:60]
        np.savez(data, images=images, captions=[f"noise {number % 7}" for number in range(60)])
    outcome = anogen("train", "--model", model, "--preset", name, "--data", data,
                     "--epochs", 1, "--model.width", 4, "--run", tmp_path / "run")  # fmt: skip
    assert outcome.code == 0
    assert Run.open(tmp_path / "run").load_model().__class__.__name__ == model


def test_every_model_has_the_preset_recommended():
    assert all("recommended" in presets()[model] for model in MODELS)


def test_a_preset_comes_before_other_options_wherever_it_stands(anogen):
    outcome = anogen("train", "--epochs", 1, "--run", "x", "--preset", "paper", "--print_config")
    assert yaml.safe_load(outcome.out)["epochs"] == 1


def test_dashes_and_underscores_are_the_same(anogen):
    outcome = anogen("train", "--run", "x", "--batch-size=9", "--print-config")
    assert yaml.safe_load(outcome.out)["batch_size"] == 9


def test_data_describes_a_path(anogen, noise_file):
    shown = json.loads(anogen("data", noise_file, "--json").out)
    assert (shown["shape"], shown["train"]) == ([1, 16, 16], 441)


def test_other_pictures_are_brought_to_the_run_s_size(anogen, tmp_path):
    for folder, size in (("own", 40), ("other", 33)):
        (tmp_path / folder).mkdir()
        for index in range(12):
            pixels = np.full((size, size), 20 * index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{index}.png")
    outcome = anogen("train", "--data", tmp_path / "own", "--image_size", 16, "--run",
                     tmp_path / "run", "--model.width", 4, "--epochs", 1)  # fmt: skip
    assert outcome.code == 0
    assert anogen("evaluate", tmp_path / "run").code == 0
    assert anogen("evaluate", tmp_path / "run", "--data", tmp_path / "other").code == 0


def test_a_run_of_arrays_says_where_to_go_on(anogen, vae, noise, tmp_path):
    fit(vae(noise.shape), noise, tmp_path / "run", epochs=1)
    outcome = anogen("train", "--run", tmp_path / "run", "--resume")
    assert outcome.code == 2
    assert "go on from Python" in outcome.err
    assert anogen("sample", tmp_path / "run").code == 0
    outcome = anogen("sample", tmp_path / "run", "--picture", "traversal")
    assert outcome.code == 3
    assert "arrays in memory" in outcome.err


def test_data_lists_everything_as_text_and_json(anogen):
    text = anogen("data").out
    assert all(word in text for word in ("mnist", "fashion-mnist", "digits", "rotation"))
    listed = json.loads(anogen("data", "digits", "--json").out)
    assert listed["data_sets"][0]["status"] == "ready"


def test_a_damaged_data_set_is_named(anogen, tmp_path):
    from anogen.data.datasets import MNIST

    (tmp_path / "mnist").mkdir()
    for name in MNIST.md5:
        (tmp_path / "mnist" / name).write_bytes(b"no")
    outcome = anogen("data", "mnist", "--data-dir", tmp_path)
    assert outcome.code == 3
    assert "train-images-idx3-ubyte.gz" in outcome.err


def test_doctor(anogen, tmp_path):
    report = json.loads(anogen("doctor", "--json", "--data_dir", tmp_path).out)
    assert report["device"] in ("cpu", "cuda")
    assert report["precision"] in ("bfloat16", "float32")
    assert report["versions"]["torch"]
    assert "torch version" in anogen("doctor").out


def test_doctor_says_whether_layers_are_compiled(anogen, monkeypatch):
    for why, told in (("", "yes"), ("no c++", "no, training is slower: no c++")):
        monkeypatch.setattr(fused, "why_none", lambda why=why: why)
        assert json.loads(anogen("doctor", "--json").out)["compiled layers"] == told


def test_doctor_sees_a_broken_torchvision(anogen, tmp_path, monkeypatch):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "operator nms does not exist" in anogen("doctor").out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["trian"], 2, "did you mean 'train'"),
        (["train", "--run", "RUN", "--epochz", "3"], 2, "did you mean --epochs?"),
        (["train", "--run", "RUN", "--model", "VEA"], 2, "did you mean 'VAE'"),
        (["train", "--run", "RUN", "--model.laten", "3"], 2, "did you mean --model.latent?"),
        (["train", "--run", "RUN", "--epochs", "many"], 2, "many"),
        (["train", "--run", "RUN", "--data", "minst"], 2, "did you mean 'mnist'"),
        (["train", "--run", "RUN", "--data", "./absent"], 3, "no such file or folder"),
        (["train", "--run", "RUN", "--preset", "papr"], 2, "did you mean 'paper'"),
        (["train", "--run", "RUN", "--data", "digits", "--model.latent", "0"], 2, "at least 1"),
        (["train", "--data", "digits"], 2, "run"),
        (["train", "--resume"], 2, "--resume needs --run"),
        (["train", "--run", "RUN", "--resume"], 2, "there is no run"),
        (["train", "--run", "RUN", "--config", "absent.yaml"], 2, "absent.yaml"),
        (["train", "--run", "/proc/no/run", "--data", "digits"], 5, "cannot be written"),
        (["evaluate", "RUN"], 2, "there is no run"),
        (["sample", "RUN", "--picture", "sample"], 2, "did you mean 'samples'"),
        (["sample", "RUN", "--count", "5"], 2, "--count needs"),
        (["sample", "RUN", "--out", "x.jpg"], 2, "ending in .png"),
        (["data", "mnits"], 2, "did you mean 'mnist'"),
        (["train", "--run", "RUN", "--data-dir", "absent"], 3, "there is no such folder"),
        (["train", "--run", "RUN", "--data", "digits", "--betas", "[1.5,0.9]"], 2, "betas"),
        (["train", "--run", "RUN", "--data", "digits", "--seed", str(2**64)], 2, "seed must lie"),
        (["data", "--nonsense"], 2, "--nonsense"),
    ],
)
def test_a_mistake_gets_one_clear_line(anogen, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    outcome = anogen(*(str(tmp_path / "run") if word == "RUN" else word for word in arguments))
    assert outcome.code == code, outcome.err
    assert message in outcome.err
    assert one_line(outcome), outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "text",
    [
        "epochz: 3",
        "epochs: !!python/object/apply:os.mkdir [exploded]",
        BOMB,
        "preset: recommended",
        "epochs: [",
        "- 1",
    ],
)
def test_bad_yaml_runs_nothing(anogen, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(text)
    outcome = anogen("train", "--config", tmp_path / "c.yaml", "--data", "digits", "--run", "run")
    assert outcome.code == 2
    assert one_line(outcome), outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_an_existing_run_is_left_alone(anogen, run, noise_file):
    before = (run / "config.yaml").read_bytes()
    outcome = anogen("train", "--data", noise_file, "--run", run)
    assert outcome.code == 2
    assert "exists already" in outcome.err
    assert (run / "config.yaml").read_bytes() == before


def test_divergence_ends_with_4(anogen, noise_file, tmp_path):
    outcome = anogen("train", "--data", noise_file, "--run", tmp_path / "run", *SMALL,
                     "--learning_rate", 1e12)  # fmt: skip
    assert outcome.code == 4
    assert "no longer finite" in outcome.err


def test_debug_shows_the_traceback(anogen, tmp_path):
    from anogen.errors import UsageError

    with pytest.raises(UsageError):
        anogen("evaluate", tmp_path, "--debug")


def test_a_reader_that_leaves_early_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-u", "-m", "anogen", "data"],
        stdout=writing, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--schedule", "slow", "option schedule: expected constant or cosine, found slow"),
        ("--epochs", "many", "option epochs: expected a whole number, found many"),
        ("--patience", "x", "option patience: expected a whole number or nothing, found x"),
        ("--model.likelihood", "x", "option model.likelihood: expected squared_error, gaussian, "
         "learned_sigma or bernoulli, found x"),
        ("--model.beta", "x", "option model.beta: expected a number, found x"),
        ("--betas", "3", "option betas: expected several values, such as [0.5, 0.99], found 3"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_answered_in_plain_words(anogen, option, value, says):
    outcome = anogen("train", "--data", "digits", "--run", "x", option, value)
    assert outcome.code == 2
    assert outcome.err.strip() == f"anogen train: {says}"


def test_a_preset_is_of_the_model_that_the_configuration_names(anogen, tmp_path):
    config = tmp_path / "gan.yaml"
    config.write_text("model:\n  class_path: anogen.GAN\n")
    arguments = ("--config", config, "--preset", "recommended", "--run", "x", "--print_config")
    found = yaml.safe_load(anogen("train", *arguments).out)
    assert found["model"]["init_args"]["r1"] == 0.1
    assert found["ema_decay"] == 0.999
    refused = anogen("train", "--config", config, "--preset", "demo", "--run", "x")
    assert "preset 'demo' is for the model Restorer, VAE, not for GAN" in refused.err


def test_a_model_in_the_working_directory_is_found_where_that_is_allowed(noise_file, tmp_path):
    (tmp_path / "mine.py").write_text("from anogen import VAE\nclass Mine(VAE):\n    pass\n")
    command = Path(sys.executable).with_name("anogen")
    arguments = ["train", "--model", "mine.Mine", "--model.latent", "2", "--model.width", "4",
                 "--data", noise_file, "--epochs", "1", "--run", "run", "--allow_code"]  # fmt: skip
    done = subprocess.run([command, *arguments], cwd=tmp_path, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
