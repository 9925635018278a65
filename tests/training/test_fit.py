import dataclasses
import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from anogen import GAN, MODELS, VAE, Detector, Losses, Run, TrainingSettings, fit
from anogen.checkpoint import save_checkpoint
from anogen.errors import DataError, Interrupted, MachineError, TrainingError, UsageError
from anogen.training import fit as fit_module
from anogen.training import loop as loop_module
from anogen.training import record
from anogen.training.loop import _mean_losses
from anogen.training.signals import StopRequest
from anogen.training.state import TrainingState, averaged_copy

from ..conftest import for_model, small_model

OPTIONS = {"epochs": 3, "batch_size": 16}
RICH = {"ema_decay": 0.9, "schedule": "cosine", "warmup_steps": 3, "clip_gradient": 1.0}


def end_of(run: Run) -> tuple[dict, dict]:
    tensors, state = run.load_state("last")
    del state["counters"]["elapsed_s"]
    return tensors, state


def assert_same_end(one: Run, other: Run) -> None:
    (a, a_state), (b, b_state) = end_of(one), end_of(other)
    assert a_state == b_state
    for stem, tensors in a.items():
        assert tensors.keys() == b[stem].keys()
        assert all(torch.equal(value, b[stem][name]) for name, value in tensors.items())
    timing = ("elapsed_s", "images_per_s")
    rows = [[{k: v for k, v in row.items() if k not in timing} for row in run.metrics]
            for run in (one, other)]  # fmt: skip
    assert rows[0] == rows[1]


@pytest.fixture
def stop_at(monkeypatch):
    """Let a signal arrive after the given number of steps."""

    def arm(step: int, number: int = signal.SIGINT) -> None:
        original = loop_module.train_step

        def counted(model, players, x, done, *rest):
            if done + 1 == step:
                signal.raise_signal(number)
            return original(model, players, x, done, *rest)

        monkeypatch.setattr(loop_module, "train_step", counted)

    return arm


def test_the_run_folder_explains_itself(noise, vae, tmp_path):
    run = fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS)
    assert {path.name for path in run.path.iterdir()} == {
        "config.yaml", "environment.json", "metrics.jsonl", "checkpoints", "samples",
        "sampler"}  # fmt: skip
    assert run.config["model"]["init_args"]["width"] == 4
    assert run.config["batch_size"] == 16
    assert run.environment["data"]["train"] == 96
    assert [row["epoch"] for row in run.metrics] == [1, 2, 3]
    assert {"running_loss_vae", "train_kl_nats", "validation_sampled_squared_error"} <= run.metrics[
        0
    ].keys()
    files = [path.suffix for path in run.path.rglob("*") if path.is_file()]
    assert set(files) <= {".yaml", ".json", ".jsonl", ".safetensors", ".png"}


def test_training_learns(digits, trained):
    rows = trained.metrics
    name = "validation_sampled_squared_error"
    assert rows[-1][name] < 0.8 * rows[0][name]


def test_the_same_seed_gives_the_same_run_and_leaves_torch_s_alone(noise, vae, tmp_path):
    runs = [fit(vae(noise.shape, dropout=0.2), noise, tmp_path / name, **OPTIONS) for name in "ab"]
    model = vae(noise.shape)
    before = torch.get_rng_state()
    fit(model, noise, tmp_path / "d", **OPTIONS)
    assert torch.equal(torch.get_rng_state(), before)
    other = fit(vae(noise.shape, dropout=0.2), noise, tmp_path / "c", seed=1, **OPTIONS)
    assert_same_end(*runs)
    assert other.metrics[-1]["running_loss_vae"] != runs[0].metrics[-1]["running_loss_vae"]


@pytest.mark.parametrize("options", [{}, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("step", [1, 6, 9, 18])
def test_a_resumed_run_ends_where_the_uninterrupted_one_ends(
    noise, vae, tmp_path, stop_at, options, step, monkeypatch
):
    model = lambda: vae(noise.shape, dropout=0.1)  # noqa: E731
    whole = fit(model(), noise, tmp_path / "whole", **OPTIONS, **options)
    stop_at(step)
    with pytest.raises(Interrupted, match=f"at step {step}, saved") as stopped:
        fit(model(), noise, tmp_path / "cut", **OPTIONS, **options)
    assert stopped.value.exit_code == 130
    monkeypatch.undo()
    cut = fit(model(), noise, tmp_path / "cut", **OPTIONS, **options, resume=True)
    assert_same_end(whole, cut)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_resumes_to_the_bit(name, noise, tmp_path, stop_at, monkeypatch):
    def model():
        torch.manual_seed(0)
        return small_model(name, noise.shape)

    noise = for_model(name, noise)
    options = {"epochs": 3, "batch_size": 16, "ema_decay": 0.9}
    whole = fit(model(), noise, tmp_path / "whole", **options)
    stop_at(9)
    with pytest.raises(Interrupted):
        fit(model(), noise, tmp_path / "cut", **options)
    monkeypatch.undo()
    cut = fit(model(), noise, tmp_path / "cut", **options, resume=True)
    assert_same_end(whole, cut)


def test_a_finished_run_can_be_extended(noise, vae, tmp_path):
    short = OPTIONS | {"epochs": 2}
    whole = fit(vae(noise.shape), noise, tmp_path / "whole", **OPTIONS)
    fit(vae(noise.shape), noise, tmp_path / "run", **short)
    run = fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS, resume=True)
    assert_same_end(whole, run)


def test_resuming_with_other_settings_or_data_is_refused(noise, vae, tmp_path):
    fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS)
    for change, message in (
        ({"batch_size": 8}, "begun with batch_size 16, now 8"),
        ({"seed": 3}, "begun with seed 0, now 3"),
    ):
        with pytest.raises(UsageError, match=message):
            fit(vae(noise.shape), noise, tmp_path / "run", **(OPTIONS | change), resume=True)
    with pytest.raises(UsageError, match="begun with model"):
        fit(vae(noise.shape, latent=3), noise, tmp_path / "run", **OPTIONS, resume=True)
    other = type(noise)(noise.train[1:], noise.validation, noise.test)
    with pytest.raises(DataError, match="the train images differ"):
        fit(vae(noise.shape), other, tmp_path / "run", **OPTIONS, resume=True)
    other = type(noise)(noise.train, noise.validation[1:], noise.test)
    with pytest.raises(DataError, match="the validation images differ"):
        fit(vae(noise.shape), other, tmp_path / "run", **OPTIONS, resume=True)


@pytest.mark.parametrize(
    "counters",
    [{"epoch": -5}, {"epoch": "1"}, {"batch": 10**9}, {"batch": -3}, {"step": 10**30},
     {"best_value": "x"}, {"elapsed_s": -1.0}, {"elapsed_s": 10**400}, {"sums": [1]},
     {"sums": {"a": [1.0, 0]}}],
)  # fmt: skip
def test_counters_that_no_training_leaves_are_refused(noise, vae, tmp_path, counters):
    run = fit(vae(noise.shape), noise, tmp_path / "run", epochs=1, batch_size=16)
    tensors, state = run.load_state("last")
    state["counters"] |= counters
    save_checkpoint(run.checkpoint("last"), tensors, state)
    rows = run.metrics
    with pytest.raises(MachineError):
        fit(vae(noise.shape), noise, tmp_path / "run", epochs=2, batch_size=16, resume=True)
    assert run.metrics == rows


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_caller_s_autocast_changes_nothing(noise, vae, tmp_path, precision):
    plain = fit(vae(noise.shape), noise, tmp_path / "plain", **OPTIONS, precision=precision)
    detector = Detector.fit(plain.load_model(), noise, "squared_error")
    expected = detector.score(noise.test)
    with torch.autocast("cpu", torch.bfloat16):
        run = fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS, precision=precision)
        assert np.array_equal(detector.score(noise.test), expected)
    for name, value in plain.load_model().state_dict().items():
        assert torch.equal(value, run.load_model().state_dict()[name])


def test_training_in_bfloat16_uses_the_weights_of_the_step_before(digits, vae, tmp_path):
    """Weights that were converted once must not be kept: half precision learns as full does."""
    errors = [
        fit(vae(digits.shape, width=8), digits, tmp_path / precision, epochs=4, batch_size=20,
            learning_rate=3e-3, precision=precision).metrics[-1]["validation_loss_vae"]
        for precision in ("float32", "bfloat16")
    ]  # fmt: skip
    assert errors[1] == pytest.approx(errors[0], rel=0.1)


def test_a_damaged_last_checkpoint_is_stepped_over(noise, vae, tmp_path, capsys):
    whole = fit(vae(noise.shape), noise, tmp_path / "whole", **OPTIONS)
    run = fit(vae(noise.shape), noise, tmp_path / "run", **(OPTIONS | {"epochs": 2}))
    (run.checkpoint("last") / "training.safetensors").write_bytes(b"damaged")
    fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS, resume=True)
    assert "going on with the checkpoint before it" in capsys.readouterr().err
    assert_same_end(whole, run)


def test_a_damaged_last_checkpoint_never_takes_the_place_of_the_one_before(
    noise, vae, tmp_path, monkeypatch
):
    run = fit(vae(noise.shape), noise, tmp_path / "run", **(OPTIONS | {"epochs": 2}))
    (run.checkpoint("last") / "training.safetensors").write_bytes(b"damaged")
    rename = Path.rename

    def crashes(path, target):
        if path.name.endswith(".writing"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", crashes)
    with pytest.raises(KeyboardInterrupt):
        fit(vae(noise.shape), noise, run.path, **OPTIONS, resume=True)
    monkeypatch.undo()
    fit(vae(noise.shape), noise, run.path, **OPTIONS, resume=True)
    assert run.epoch_of("last") == OPTIONS["epochs"]


def test_fewer_epochs_than_are_done_are_refused(noise, vae, tmp_path):
    run = fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS)
    with pytest.raises(UsageError, match=f"has {OPTIONS['epochs']} epochs already"):
        fit(vae(noise.shape), noise, run.path, **(OPTIONS | {"epochs": 1}), resume=True)
    assert run.config["epochs"] == OPTIONS["epochs"]


def test_a_run_appears_whole_or_not_at_all(noise, vae, tmp_path, monkeypatch):
    def fail(*_):
        raise MachineError("the disk is full")

    monkeypatch.setattr(loop_module, "save_checkpoint", fail)
    with pytest.raises(MachineError, match="disk is full"):
        fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_numpy_numbers_are_numbers(noise, vae, tmp_path):
    model = vae(noise.shape, latent=np.int64(3), beta=np.float64(2))
    run = fit(model, noise, tmp_path / "run", epochs=1, learning_rate=np.float32(1e-3))
    assert run.config["model"]["init_args"]["latent"] == 3
    assert run.load_model().latent == 3


def test_a_signal_during_the_last_validation_is_not_lost(noise, vae, tmp_path, monkeypatch):
    original = loop_module.Loop._announce

    def signalled(self, row):
        if row["epoch"] == OPTIONS["epochs"]:
            signal.raise_signal(signal.SIGTERM)
        original(self, row)

    monkeypatch.setattr(loop_module.Loop, "_announce", signalled)
    with pytest.raises(Interrupted) as stopped:
        fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS)
    assert stopped.value.exit_code == 143


class Resting(VAE):
    """A model whose one player rests at every other step, beginning with the first."""

    def losses(self, x, step=None, condition=None):
        found = super().losses(x, step, condition)
        return found if step is None or step % 2 else Losses({}, found.terms)


def test_a_player_that_rests_is_averaged_over_the_steps_it_played(
    noise, tmp_path, stop_at, monkeypatch
):
    def model():
        torch.manual_seed(0)
        return Resting(noise.shape, 2, width=4)

    whole = fit(model(), noise, tmp_path / "whole", **OPTIONS)
    terms = whole.metrics[0]["running_reconstruction_nats"] + whole.metrics[0]["running_kl_nats"]
    constant = 0.5 * np.log(np.pi) * 256
    assert whole.metrics[0]["running_loss_vae"] == pytest.approx(terms - constant, rel=0.2)
    stop_at(7)
    with pytest.raises(Interrupted):
        fit(model(), noise, tmp_path / "cut", **OPTIONS)
    monkeypatch.undo()
    cut = fit(model(), noise, tmp_path / "cut", **OPTIONS, resume=True)
    assert_same_end(whole, cut)


def test_each_player_may_have_its_own_learning_rate(noise, tmp_path):
    torch.manual_seed(0)
    model = GAN(noise.shape, 4, width=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rates = {"generator": 1e-30, "discriminator": 1e-2}
    fit(model, noise, tmp_path / "run", epochs=1, learning_rate=rates)
    after = model.state_dict()
    assert torch.equal(after["generator.stem.weight"], before["generator.stem.weight"])
    name = "discriminator.head.weight"
    assert not torch.equal(after[name], before[name])


def test_averaged_weights_are_what_is_kept(noise, vae, tmp_path):
    run = fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS, ema_decay=0.5)
    tensors, _ = run.load_state("last")
    kept = tensors["weights"]["decoder.stem.weight"]
    trained = tensors["training"]["model.decoder.stem.weight"]
    assert not torch.equal(kept, trained)
    assert torch.equal(run.load_model("last").state_dict()["decoder.stem.weight"], kept)


def test_best_is_the_epoch_with_the_lowest_monitor_and_patience_stops(noise, vae, tmp_path):
    run = fit(vae(noise.shape), noise, tmp_path / "run", epochs=200, batch_size=16, patience=3,
              learning_rate=0.03, monitor="sampled_squared_error")  # fmt: skip
    values = [row["validation_sampled_squared_error"] for row in run.metrics]
    counters = run.load_state("best", ("weights",))[1]["counters"]
    assert counters["epoch"] == values.index(min(values)) + 1
    assert len(values) == counters["epoch"] + 3 < 200


def test_a_diverging_loss_stops_and_keeps_the_last_finite_state(noise, vae, tmp_path):
    with pytest.raises(TrainingError, match=r"no longer finite at step .* smaller learning_rate"):
        fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS, learning_rate=1e12)
    weights = Run.open(tmp_path / "run").load_model().state_dict().values()
    assert all(weight.isfinite().all() for weight in weights)


def test_lack_of_memory_names_a_batch_size(noise, vae, tmp_path, monkeypatch):
    def starve(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate ...")

    monkeypatch.setattr(loop_module, "train_step", starve)
    with pytest.raises(TrainingError, match="try a batch_size below 16"):
        fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS)


def test_other_errors_of_torch_are_not_hidden(noise, vae, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("a real mistake")

    monkeypatch.setattr(loop_module, "train_step", fail)
    with pytest.raises(RuntimeError, match="a real mistake"):
        fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be positive"),
        ({"batch_size": 1}, "at least 2"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"learning_rate": {"vae": 0.0}}, "learning_rate must be positive"),
        ({"learning_rate": {"encoder": 0.1}}, "learning_rate is for encoder; players are vae"),
        ({"betas": (1.5, 0.9)}, "betas must be two numbers"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
        ({"warmup_steps": -5}, "warmup_steps must not be negative"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"patience": 0}, "patience must be positive"),
        ({"seed": -1}, "seed must lie between 0 and"),
        (
            {"monitor": "accuracy"},
            "monitor 'accuracy': this model has loss_vae, sampled_squared_error",
        ),
        ({"device": "gpu"}, "use auto, cpu, cuda"),
    ],
)
def test_senseless_settings_leave_no_folder(noise, vae, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        fit(vae(noise.shape), noise, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_model_of_another_shape_is_refused(noise, vae, tmp_path):
    with pytest.raises(UsageError, match=r"model is for images of \(1, 20, 20\)"):
        fit(vae((1, 20, 20)), noise, tmp_path / "run")


def test_existing_and_unwritable_folders_are_refused_before_training(noise, vae, tmp_path):
    (tmp_path / "file").touch()
    for path, kind in ((tmp_path, UsageError), (tmp_path / "file", UsageError),
                       (Path("/proc/nowhere/run"), MachineError)):  # fmt: skip
        with pytest.raises(kind, match=r"exists already|cannot be written"):
            fit(vae(noise.shape), noise, path)
    with pytest.raises(UsageError, match="there is no run"):
        fit(vae(noise.shape), noise, tmp_path / "absent", resume=True)


def test_two_processes_cannot_train_one_run(noise, vae, tmp_path):
    run = fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS)
    with run.locked(), pytest.raises(UsageError, match="another process"):
        fit(vae(noise.shape), noise, run.path, **OPTIONS, resume=True)


def test_tensorboard_gets_the_rows(noise, vae, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS, tensorboard=True)
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    values = [event.value for event in events.Scalars("kl_nats/validation")]
    assert values == pytest.approx([row["validation_kl_nats"] for row in run.metrics])
    more = OPTIONS | {"epochs": 5, "tensorboard": True}
    fit(vae(noise.shape), noise, run.path, **more, resume=True)
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    steps = [event.step for event in events.Scalars("kl_nats/validation")]
    assert steps == [row["step"] for row in run.metrics]


def test_a_missing_tensorboard_is_named_before_training(noise, vae, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match="pip install"):
        fit(vae(noise.shape), noise, tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_metrics_are_json_lines(trained):
    lines = (trained.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]


def test_a_second_signal_interrupts_at_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as request:
        signal.raise_signal(signal.SIGINT)
        assert request.signal_number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_a_resumed_run_has_otherwise_stands_in_its_configuration(noise, vae, tmp_path, capsys):
    run = fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS, schedule="cosine")
    longer = OPTIONS | {"epochs": 4}
    fit(vae(noise.shape), noise, run.path, **longer, schedule="cosine", resume=True)
    assert run.config["epochs"] == 4
    assert "learning rate jumps" in capsys.readouterr().err
    fit(vae(noise.shape), noise, run.path, **longer, schedule="cosine", resume=True)
    assert "learning rate jumps" not in capsys.readouterr().err


def test_a_class_of_the_running_program_is_warned_about(noise, vae, tmp_path, monkeypatch, capsys):
    model = vae(noise.shape)
    monkeypatch.setattr(type(model), "__module__", "__main__")
    fit(model, noise, tmp_path / "run", epochs=1)
    assert "only that can load the run again" in capsys.readouterr().err


def test_a_resumed_run_says_what_computes_otherwise(noise, vae, tmp_path, monkeypatch, capsys):
    run = fit(vae(noise.shape), noise, tmp_path / "run", **OPTIONS)
    before = run.environment["compiled_layers"]
    monkeypatch.setattr(record, "kernels", lambda: None if before else "compiled")
    longer = OPTIONS | {"epochs": OPTIONS["epochs"] + 1}
    fit(vae(noise.shape), noise, run.path, **longer, resume=True)
    assert f"compiled_layers was {before}, is {not before}" in capsys.readouterr().err


def test_the_average_forgets_the_first_weights_soon(noise, vae, tmp_path, monkeypatch):
    """Its decay is step / (step + 10), until that reaches the one that was asked for."""
    decays, average = [], TrainingState.average

    def watched(self, decay):
        decays.append(decay)
        average(self, decay)

    monkeypatch.setattr(TrainingState, "average", watched)
    fit(vae(noise.shape), noise, tmp_path / "run", epochs=4, batch_size=16, ema_decay=0.5)
    steps = np.arange(1, len(decays) + 1)
    assert len(decays) == 24
    assert decays == pytest.approx(np.minimum(0.5, steps / (steps + 10)))


def test_an_average_is_of_weights_and_takes_statistics_as_they_are(vae):
    model = vae((1, 16, 16))
    state = TrainingState(model, [], averaged_copy(model))
    before = {name: value.clone() for name, value in model.named_parameters()}
    model.train()
    model.losses(torch.rand(8, 1, 16, 16), 0)  # moves the statistics of normalisation
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    state.average(0.75)
    for name, value in state.averaged.named_parameters():
        torch.testing.assert_close(value, before[name] + 0.25)
    buffers = dict(model.named_buffers())
    assert any(name.endswith("running_mean") for name in buffers)
    for name, value in state.averaged.named_buffers():
        assert torch.equal(value, buffers[name])
    assert not any(value.requires_grad for value in state.averaged.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_training_within_no_grad_equals_one_without(noise, vae, tmp_path, mode):
    plain = fit(vae(noise.shape), noise, tmp_path / "plain", **OPTIONS).load_model("last")
    model = vae(noise.shape)
    with mode():
        other = fit(model, noise, tmp_path / "other", **OPTIONS).load_model("last")
    for name, value in plain.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_a_training_under_a_float64_default_equals_one_without(noise, vae, tmp_path):
    plain = fit(vae(noise.shape), noise, tmp_path / "plain", **OPTIONS)
    model = vae(noise.shape)
    torch.set_default_dtype(torch.float64)
    try:
        other = fit(model, noise, tmp_path / "other", **OPTIONS)
        fit(vae(noise.shape), noise, tmp_path / "double", **OPTIONS)  # weights made as float64
        detectors = [
            Detector.fit(run.load_model("last"), noise, "negative_elbo") for run in (plain, other)
        ]
    finally:
        torch.set_default_dtype(torch.float32)
    first, second = (run.load_model("last").state_dict() for run in (plain, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    scores = [detector.score(noise.test) for detector in detectors]
    assert np.array_equal(*scores)


def test_a_model_made_in_inference_mode_is_refused(noise, vae, tmp_path):
    with torch.inference_mode():
        model = vae(noise.shape)
    with pytest.raises(UsageError, match="made within torch"):
        fit(model, noise, tmp_path / "run")


def test_trainings_in_threads_take_turns_and_equal_the_serial_one(noise, vae, tmp_path):
    models = [vae(noise.shape) for _ in range(4)]
    serial = fit(vae(noise.shape), noise, tmp_path / "serial", **OPTIONS).load_model("last")
    state = torch.get_rng_state()

    def train(index):
        return fit(models[index], noise, tmp_path / str(index), **OPTIONS).load_model("last")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(train, range(4)))
    for name, value in serial.state_dict().items():
        assert all(torch.equal(each.state_dict()[name], value) for each in found)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("label", [-1, 10, 99])
def test_labels_that_are_no_classes_are_refused_before_training(noise, vae, tmp_path, label):
    labels = np.zeros(len(noise.train), np.int64)
    labels[3] = label
    with pytest.raises(DataError, match=f"the label {label} is not among"):
        dataclasses.replace(noise.train, labels=labels, classes=tuple("0123456789"))


def test_steps_are_recorded_on_a_gpu_alone(noise, vae):
    for cuda_graphs in (False, True):
        made = loop_module.Loop(vae(noise.shape), noise, torch.device("cpu"), torch.float32,
                    TrainingSettings(batch_size=16, cuda_graphs=cuda_graphs))  # fmt: skip
        assert made._train == made._train_step  # never on the processor


def test_what_is_logged_is_of_the_averaged_weights(noise, vae, tmp_path):
    run = fit(vae(noise.shape), noise, tmp_path / "run", epochs=2, batch_size=16, ema_decay=0.9,
              learning_rate=0.02, precision="float32")  # fmt: skip
    averaged = run.load_model("last")
    trained = run.load_model("last")
    tensors, _ = run.load_state("last")
    own = {k.removeprefix("model."): v for k, v in tensors["training"].items()
           if k.startswith("model.")}  # fmt: skip
    trained.load_state_dict(own)
    found = [_mean_losses(m, noise.validation, torch.device("cpu"), torch.float32)["loss_vae"]
             for m in (averaged, trained)]  # fmt: skip
    assert run.metrics[-1]["validation_loss_vae"] == pytest.approx(found[0], rel=1e-5)
    assert found[0] != pytest.approx(found[1], rel=1e-3)


def test_a_resumed_run_keeps_its_threads(noise, vae, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    run = fit(vae(noise.shape), noise, tmp_path / "run", epochs=1, batch_size=16, threads=2)
    assert run.config["threads"] == run.environment["threads"] == 2
    monkeypatch.setattr(fit_module, "choose_threads", lambda: pytest.fail("asked again"))
    fit(vae(noise.shape), noise, tmp_path / "run", epochs=2, batch_size=16, resume=True)
    assert run.config["threads"] == 2
    assert "threads was" not in capsys.readouterr().err
    fit(vae(noise.shape), noise, tmp_path / "run", epochs=3, batch_size=16, resume=True, threads=1)
    assert "threads was 2, is 1; last bits will differ" in capsys.readouterr().err


def test_a_busy_machine_is_said(noise, vae, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(fit_module, "choose_threads", lambda: 1)
    fit(vae(noise.shape), noise, tmp_path / "run", epochs=1, batch_size=16)
    assert "training with 1 of 4 threads; set threads 4" in capsys.readouterr().err
