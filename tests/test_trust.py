"""Run folders from strangers: nothing of them runs, nothing outside of them is read or written."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import anogen
from anogen import Detector, Run, fit
from anogen.checkpoint import load_checkpoint, save_checkpoint
from anogen.errors import AnogenError, MachineError, UsageError

from .conftest import one_line, small_vae

MARKER = "ran.txt"
EVIL = f"""
from pathlib import Path
Path(__file__).with_name("{MARKER}").write_text("code of a stranger")
from anogen import VAE
class Model(VAE):
    pass
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A whole run: trained, evaluated, with a detector."""
    folder = tmp_path_factory.mktemp("made")
    pixels = np.random.default_rng(1).integers(0, 256, (120, 16, 16), np.uint8)
    np.save(folder / "data.npy", pixels)
    data = anogen.load_data(folder / "data.npy")
    run = fit(small_vae(data.shape), data, folder / "run", epochs=2, batch_size=32)
    Detector.of_run(run, "squared_error")
    from anogen.cli.main import main

    arguments = ["--importance_samples", "0", "--samples", "20"]
    assert main(["evaluate", str(run.path), *arguments]) == 0
    return folder


@pytest.fixture
def run(made, tmp_path) -> Path:
    """A copy of it, to be made hostile."""
    shutil.copytree(made / "run", tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    config["data"] = str(made / "data.npy")
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "run"


def name_a_model(run: Path, name: str) -> None:
    """Put the import path of a class into config.yaml and into every checkpoint."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["class_path"] = name
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for folder in (run / "checkpoints").iterdir():
        tensors, state = load_checkpoint(folder)
        state["model"]["class_path"] = name
        save_checkpoint(folder, tensors, state)


COMMANDS = {
    "evaluate": ["evaluate", "RUN"],
    "sample": ["sample", "RUN"],
    "detect": ["detect", "RUN", "--out", "DATA+inversion", "--fpr", "0.2"],
    "score": ["score", "RUN", "DATA", "--fpr", "0.2"],
    "export": ["export", "RUN", "--fpr", "0.2", "--out", "OUT"],
    "compare": ["compare", "RUN", "--out", "OUT", "--samples", "20"],
    "resume": ["train", "--run", "RUN", "--resume"],
    "config": ["train", "--config", "RUN/config.yaml", "--run", "NEW"],
    "help": ["train", "--model.help", "evil_module.Model"],
    "model": ["train", "--model", "evil_module.Model", "--data", "DATA", "--run", "NEW"],
}


def called(anogen, command: str, run: Path, data: Path, *more: str):
    places = {"RUN": str(run), "DATA": str(data), "NEW": f"{run}-new", "OUT": f"{run}-out.onnx"}
    arguments = []
    for argument in COMMANDS[command]:
        for word, path in places.items():
            argument = argument.replace(word, path)
        arguments.append(argument)
    return anogen(*arguments, *more)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", ["in the run", "on the path"])
def test_a_class_that_a_run_names_is_not_imported(
    anogen, run, made, command, where, monkeypatch, tmp_path
):
    folder = run if where == "in the run" else tmp_path / "installed"
    folder.mkdir(exist_ok=True)
    (folder / "evil_module.py").write_text(EVIL)
    if where == "on the path":
        monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(run)
    name_a_model(run, "evil_module.Model")
    before = list(sys.path)
    outcome = called(anogen, command, run, made / "data.npy")
    assert outcome.code == 2, outcome.err
    assert one_line(outcome), outcome.err
    assert "evil_module.Model" in outcome.err
    assert "--allow_code" in outcome.err
    assert not (folder / MARKER).exists()
    assert sys.path == before
    assert "evil_module" not in sys.modules


def test_what_is_allowed_is_imported_on_that_call_only(anogen, run, monkeypatch, tmp_path):
    (tmp_path / "evil_module.py").write_text(EVIL)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    name_a_model(run, "evil_module.Model")
    with pytest.raises(UsageError, match="allow_code=True"):
        Run.open(run).load_model()
    outcome = anogen("sample", run, "--allow_code")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / MARKER).exists()
    assert type(Run.open(run).load_model(allow_code=True)).__name__ == "Model"
    with pytest.raises(UsageError, match="allow_code=True"):
        Run.open(run).load_model()
    assert anogen("sample", run).code == 2
    sys.modules.pop("evil_module")


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        (["--allow_code"], True), (["--allow-code"], True), (["--allow_code=true"], True),
        (["--allow_code=True"], True), (["--allow_code", "true"], True), ([], False),
        (["--allow_code", "false"], False), (["--allow_code=false"], False),
        (["--allow_code=False"], False), (["--allow_code", "False"], False),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("named", ["plain", "table"])
def test_code_is_allowed_where_the_command_line_says_so(
    anogen, made, tmp_path, monkeypatch, more, allowed, named
):
    (tmp_path / "evil_module.py").write_text(EVIL)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("evil_module", None)
    name = "evil_module.Model"
    value = name if named == "plain" else f'{{"class_path": "{name}"}}'
    outcome = anogen(
        "train", "--model", value, "--data", made / "data.npy", "--epochs", 1, "--model.width", 4,
        "--run", "r", *more,
    )  # fmt: skip
    assert outcome.code == (0 if allowed else 2), outcome.err
    assert (tmp_path / MARKER).exists() == allowed
    sys.modules.pop("evil_module", None)


@pytest.mark.parametrize("line", ["allow_code: true", "preset: paper"])
def test_a_configuration_cannot_allow_itself_anything(anogen, made, tmp_path, monkeypatch, line):
    (tmp_path / "c.yaml").write_text(f"{line}\nmodel: VAE\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    outcome = anogen("train", "--config", "c.yaml", "--data", made / "data.npy", "--run", "r")
    assert outcome.code == 2
    assert "belongs on the command line" in outcome.err
    assert sys.path == before
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.Popen", "anogen.Images", "builtins.exec"]
)
def test_what_is_no_model_is_not_built(run, name):
    name_a_model(run, name)
    for allow_code in (False, True):
        with pytest.raises(UsageError):
            Run.open(run).load_model(allow_code=allow_code)


def test_a_companion_of_a_detector_is_not_imported(run, made, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    model, data = Run.open(run).load_model(), Run.open(run).load_data()
    detector = Detector.fit(model, data, "waic", companions=[small_vae(data.shape, seed=1)])
    detector.save(run / "detector" / "waic")
    tensors, state = load_checkpoint(run / "detector" / "waic")
    state["companions"][0]["class_path"] = "evil_module.Model"
    save_checkpoint(run / "detector" / "waic", tensors, state)
    with pytest.raises(UsageError, match="allow_code"):
        Detector.of_run(Run.open(run), "waic")
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize(
    "part",
    ["samples", "figures", "detector", "checkpoints", "metrics.jsonl", "config.yaml",
     "environment.json", "evaluation.json"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["evaluate", "report", "score", "resume"])
def test_a_link_out_of_a_run_is_not_followed(anogen, run, made, tmp_path, part, command):
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.move(run / part, outside / part)
    (run / part).symlink_to(outside / part)
    before = snapshot(outside)
    if command == "report":
        outcome = anogen("report", run)
    else:
        more = ["--epochs", "3"] if command == "resume" else []
        outcome = called(anogen, command, run, made / "data.npy", *more)
    assert snapshot(outside) == before
    assert "Traceback" not in outcome.err
    if command in USES.get(part, {"evaluate", "report", "score", "resume"}):
        assert outcome.code in (2, 5), (outcome.code, outcome.err)
        assert one_line(outcome)


USES = {
    "samples": {"evaluate", "resume"},
    "figures": {"evaluate", "report"},
    "detector": {"score"},
    "evaluation.json": {"evaluate", "report"},
    "metrics.jsonl": {"evaluate", "report", "resume"},
    "checkpoints": {"evaluate", "score", "resume"},
}
"""Which commands need a part of a run, where not all do."""


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("circle", ["figures", "detector"])
def test_links_in_a_circle_are_refused(run, circle):
    shutil.rmtree(run / circle)
    (run / circle).symlink_to(run / circle)
    with pytest.raises(MachineError, match="leads out of the run's folder"):
        Run.open(run).inside(circle)


@pytest.mark.parametrize("file", ["../secret.png", "/etc/hostname", "sub/x.png", ".hidden.png",
                                  "link.png", "text.png", "a\0b.png"])  # fmt: skip
def test_a_picture_elsewhere_comes_into_no_page(anogen, run, tmp_path, file):
    Image.new("L", (4, 4), 77).save(tmp_path / "secret.png")
    secret = (tmp_path / "secret.png").read_bytes()
    if file == "link.png":
        (run / "figures" / "link.png").symlink_to(tmp_path / "secret.png")
    if file == "text.png":
        (run / "figures" / "text.png").write_text("a secret in a file that is no picture")
    entry = {"file": file, "name": "x", "title": "x", "caption": "x"}
    (run / "figures" / "evaluation.json").write_text(json.dumps([entry]))
    (run / "report.html").unlink()
    outcome = anogen("report", run)
    assert outcome.code == 5, outcome.err
    assert one_line(outcome)
    assert not (run / "report.html").exists()
    import base64

    page = outcome.out + outcome.err
    assert base64.b64encode(secret).decode() not in page


def test_a_run_cannot_name_a_checkpoint_elsewhere(run):
    for which in ("../last", "/tmp", "a/b"):
        with pytest.raises(UsageError, match="choose best, last"):
            Run.open(run).load_model(which)


HOSTILE = "a\x1b[2J\u202egnp.exe<script>alert(1)</script>\udcff"


def test_names_are_shown_escaped_on_the_page_and_on_the_terminal(anogen, run):
    entries = json.loads((run / "figures" / "evaluation.json").read_text())
    entries[0] |= {"title": HOSTILE, "caption": HOSTILE}
    (run / "figures" / "evaluation.json").write_text(json.dumps(entries))
    assert anogen("report", run).code == 0
    page = (run / "report.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert not set(page) & set("\x1b\u202e\udcff")
    assert r"a\x1b[2J\u202egnp.exe&lt;script&gt;" in page
    outcome = anogen("score", run, HOSTILE)
    assert not set(outcome.out + outcome.err) & set("\x1b\u202e\udcff")


FILES = ["config.yaml", "environment.json", "metrics.jsonl", "evaluation.json",
         "figures/evaluation.json", "checkpoints/best/state.json",
         "checkpoints/best/manifest.json", "checkpoints/best/weights.safetensors",
         "detector/squared_error/state.json", "detector/squared_error/manifest.json"]  # fmt: skip
DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "not utf-8": lambda content: b"\xff\xfe" + content,
    "a list": lambda content: b"[1, 2, 3]",
    "a number": lambda content: b"7",
    "deeply nested": lambda content: b"[" * 20_000,
    "nested objects": lambda content: b'{"a":' * 20_000,
    "null": lambda content: b"null",
    "wrong types": lambda content: b'{"data": 7, "model": [], "epochs": "x", "format": 1}',
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_of_a_run_is_one_line(anogen, run, made, file, damage):
    path = run / file
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    commands = {
        "report": ["report", run],
        "sample": ["sample", run],
        "score": ["score", run, made / "data.npy", "--fpr", "0.2", "--score", "squared_error"],
        "evaluate": ["evaluate", run, "--importance_samples", "0", "--samples", "10"],
    }
    for arguments in commands.values():
        outcome = anogen(*arguments)
        assert outcome.code in (0, 2, 3, 5), (arguments[0], outcome.err)
        assert "Traceback" not in outcome.err
        if outcome.code:
            assert one_line(outcome), outcome.err
    if file.startswith("detector"):
        outcome = anogen(*commands["score"])
        assert outcome.code == 5
        assert "damaged" in outcome.err or "manifest" in outcome.err


@pytest.mark.parametrize("file", FILES)
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(anogen, run, file):
    (run / file).unlink()
    os.mkfifo(run / file)
    for arguments in (["report", run], ["sample", run]):
        outcome = anogen(*arguments)
        assert outcome.code in (0, 2, 5), outcome.err
        assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "init_args",
    [{}, {"shape": [1]}, {"shape": "abc"}, {"shape": [1, 16, 16], "latent": 10**12},
     {"shape": [1, 16, 16], "latent": "x"}, {"shape": [1, 16, 16], "no_such": 1},
     {"shape": [1, 16, 16], "depth": 2**63}, {"shape": [1, 16, 16], "net": None},
     {"shape": [1, 16, 16], "beta": float("inf")}, {"shape": [1, 16, 16], "latent": 3}, []],
    ids=str,
)  # fmt: skip
def test_a_model_that_cannot_be_built_is_one_line(run, init_args):
    for folder in (run / "checkpoints").iterdir():
        tensors, state = load_checkpoint(folder)
        state["model"]["init_args"] = init_args
        text = json.dumps(state)
        if "Infinity" in text:  # which our own writer refuses
            (folder / "state.json").write_text(text)
            continue
        save_checkpoint(folder, tensors, state)
    with pytest.raises(AnogenError):
        Run.open(run).load_model()


def test_a_run_stays_open_when_the_working_folder_changes(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parent)
    opened = Run.open("run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert opened.load_model().latent == 2
    assert opened.metrics[0]["epoch"] == 1


@pytest.mark.parametrize("name", [None, 5, [], {}])
def test_a_model_without_a_name_is_one_line(run, name):
    name_a_model(run, name)
    with pytest.raises(AnogenError):
        Run.open(run).load_model()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38, -1e30])
def test_weights_that_are_of_no_use_are_one_line(anogen, run, made, value):
    for folder in (run / "checkpoints").iterdir():
        tensors, state = load_checkpoint(folder)
        for weight in tensors["weights"].values():
            if weight.is_floating_point():
                weight.fill_(value)
        save_checkpoint(folder, tensors, state)
    for command in ("evaluate", "sample", "detect", "score", "compare"):
        outcome = called(anogen, command, run, made / "data.npy")
        assert outcome.code in (0, 3, 4, 5), (command, outcome.err)
        assert not outcome.code or one_line(outcome), outcome.err


@pytest.mark.filterwarnings("ignore")
def test_a_detector_with_other_tensors_is_one_line(anogen, run, made):
    import torch

    fused = ["score", run, made / "data.npy", "--fpr", "0.2"]
    assert anogen(*fused).code == 0
    folder = run / "detector" / "fused"
    whole, state = load_checkpoint(folder)
    rng = np.random.default_rng(0)
    for name in rng.permutation(sorted(whole["state"]))[:8]:
        for change in (
            lambda t: None, lambda t: torch.zeros(0), lambda t: torch.zeros(3, 3, 3),
            lambda t: t.long(),
        ):  # fmt: skip
            tensors = {stem: dict(named) for stem, named in whole.items()}
            changed = change(tensors["state"].pop(name))
            if changed is not None:
                tensors["state"][name] = changed
            save_checkpoint(folder, tensors, state)
            outcome = anogen(*fused)
            assert outcome.code in (0, 3, 5), (name, outcome.err)
            assert not outcome.code or one_line(outcome)
    for key, value in (("score", "kl"), ("score", "nearest_pixels"), ("score", []),
                       ("statistics", 7), ("companions", None)):  # fmt: skip
        save_checkpoint(folder, whole, state | {key: value})
        outcome = anogen(*fused)
        assert outcome.code in (2, 5), (key, outcome.err)
        assert one_line(outcome)
    tensors = whole | {"calibration": {"scores": torch.zeros(2, 2, 2)}}
    save_checkpoint(folder, tensors, state)
    assert anogen(*fused).code == 5


@pytest.mark.parametrize("file", ["metrics.jsonl", "evaluation.json", "environment.json"])
def test_numbers_and_names_that_no_page_can_show(anogen, run, made, file):
    text = (run / file).read_text()
    huge = "9" * 400
    for change in (
        lambda t: t.replace('"epoch": 1', f'"epoch": {huge}').replace('"squared_error": ',
                                                                      f'"squared_error": {huge}'),
        lambda t: t.replace('"step"', '"st\\u0000ep"').replace('"elbo_nats"', '"\\udcff"'),
        lambda t: t.replace('"images_per_s"', '"images"'),
        lambda t: t.replace('"classes": []', '"classes": [1, "a", null]'),
    ):  # fmt: skip
        (run / file).write_text(change(text))
        for command in (["report", run], ["evaluate", run, "--importance_samples", "0"],
                        ["compare", run, "--out", f"{run}-c", "--samples", "20"]):  # fmt: skip
            outcome = anogen(*command)
            assert outcome.code in (0, 3, 5), (command, outcome.err)
            assert not outcome.code or one_line(outcome)
