"""A user's code that takes part in training."""

import numpy as np
import pytest
import torch

from anogen import Hook, TrainingSettings, fit
from anogen.errors import UsageError

SETTINGS = TrainingSettings(epochs=3, batch_size=32)


class Recorder(Hook):
    """Notes every call."""

    def __init__(self):
        self.calls = []

    def on_start(self, training):
        self.calls.append(("start", training.epoch, training.step))

    def on_step_end(self, training, losses):
        torch.rand(3), np.random.rand(3)  # draws that must change nothing
        self.calls.append(("step", training.step, sorted(losses)))

    def on_epoch_end(self, training, metrics):
        rows = training.run.metrics
        assert rows[-1] == metrics
        assert training.run.checkpoint("last").exists()
        self.calls.append(("epoch", training.epoch, metrics["epoch"]))

    def on_end(self, training):
        self.calls.append(("end", training.epoch))


def test_hooks_are_called_in_order_and_change_nothing(noise, vae, tmp_path):
    plain = fit(vae(noise.shape), noise, tmp_path / "plain", SETTINGS)
    recorder = Recorder()
    run = fit(vae(noise.shape), noise, tmp_path / "run", SETTINGS, hooks=[recorder])
    steps = [call for call in recorder.calls if call[0] == "step"]
    assert steps == [("step", number, ["vae"]) for number in range(1, 10)]
    rest = [call for call in recorder.calls if call[0] != "step"]
    assert rest == [("start", 0, 0), ("epoch", 1, 1), ("epoch", 2, 2), ("epoch", 3, 3), ("end", 3)]
    for name, value in plain.load_model().state_dict().items():
        assert torch.equal(value, run.load_model().state_dict()[name])


def test_a_hook_ends_training_and_it_may_be_resumed(noise, vae, tmp_path, capfd):
    class Enough(Hook):
        def on_epoch_end(self, training, metrics):
            if training.epoch == 2:
                training.stop = "two are enough"

    run = fit(vae(noise.shape), noise, tmp_path / "run", SETTINGS, hooks=[Enough()])
    assert len(run.metrics) == 2
    assert "stopped: two are enough" in capfd.readouterr().err
    recorder = Recorder()
    fit(vae(noise.shape), noise, tmp_path / "run", SETTINGS, resume=True, hooks=[recorder])
    assert recorder.calls[0] == ("start", 2, 6)
    whole = fit(vae(noise.shape), noise, tmp_path / "whole", SETTINGS)
    for name, value in whole.load_model().state_dict().items():
        assert torch.equal(value, run.load_model().state_dict()[name])


def test_what_a_hook_raises_reaches_the_caller_and_the_run_goes_on(noise, vae, tmp_path):
    class Broken(Hook):
        def on_epoch_end(self, training, metrics):
            raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        fit(vae(noise.shape), noise, tmp_path / "run", SETTINGS, hooks=[Broken()])
    run = fit(vae(noise.shape), noise, tmp_path / "run", SETTINGS, resume=True)
    assert len(run.metrics) == 3


@pytest.mark.parametrize("hooks", [None, 5, [5], "ab", Hook(), [Hook]])
def test_what_is_no_hook_is_refused_before_anything_is_written(noise, vae, tmp_path, hooks):
    with pytest.raises(UsageError, match=r"hooks are a list of anogen\.Hook"):
        fit(vae(noise.shape), noise, tmp_path / "run", SETTINGS, hooks=hooks)
    assert not (tmp_path / "run").exists()


def test_hooks_from_an_iterator_are_called_as_often(noise, vae, tmp_path):
    recorder = Recorder()
    fit(vae(noise.shape), noise, tmp_path / "run", SETTINGS, hooks=iter([recorder]))
    assert len(recorder.calls) == 9 + 5
