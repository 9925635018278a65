"""The loop over epochs and steps: training, validation, checkpoints, and leaving in good order."""

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anogen.checkpoint import put_aside, save_checkpoint
from anogen.data.batches import Batch, Shuffled, in_order
from anogen.data.images import Images, Pixels
from anogen.data.splits import Splits
from anogen.device import matrix_products_in
from anogen.errors import DivergenceError, Interrupted, MachineError, UsageError
from anogen.evaluation.epochs import FEWEST, SampleDistance
from anogen.models.base import GenerativeModel, Losses, Model, generative
from anogen.progress import Progress, say
from anogen.run import Run
from anogen.training.capture import CapturedSteps
from anogen.training.hooks import Hook, Training
from anogen.training.log import EpochMetrics, MetricsLog
from anogen.training.schedule import learning_rate_factor
from anogen.training.settings import TrainingSettings
from anogen.training.signals import StopRequest
from anogen.training.state import TrainingState, averaged_copy
from anogen.training.step import Update, make_players, train_step
from anogen.training.watch import collapse_warnings, fixed_samples, grid, save_grid

DISTANCE = "frechet_distance"
"""The metric of samples, which is measured where the best epoch is chosen by it."""


class Loop:
    """A model in training: its state, its data, its settings and hooks."""

    def __init__(
        self,
        model: Model,
        data: Splits,
        device: torch.device,
        dtype: torch.dtype,
        settings: TrainingSettings,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self.data, self.device, self.dtype, self.settings = data, device, dtype, settings
        self.hooks = hooks
        self.decay = settings.ema_decay
        self.state = TrainingState(
            model,
            make_players(model, settings.learning_rate, settings.betas),
            averaged_copy(model) if self.decay is not None else None,
        )
        assert settings.batch_size is not None  # `fit` has decided it
        self.batches = Shuffled(data.train, settings.batch_size, settings.seed, device)
        self.total_steps = settings.epochs * len(self.batches)
        self._plan(self.total_steps)
        self.monitor: str | None = settings.monitor or model.monitor
        if self.monitor == DISTANCE and len(data.validation) < FEWEST:
            if settings.monitor == DISTANCE:
                raise UsageError(f"monitor {DISTANCE}: needs {FEWEST} validation images or more, "
                                 f"{data.name} has {len(data.validation)}")  # fmt: skip
            self.monitor = None  # the last epoch is as good as any
        self._distance: SampleDistance | None = None
        self._signs: set[str] = set()  # of collapse, in the last epoch
        self._warned: set[str] = set()
        recorded = settings.cuda_graphs and device.type == "cuda"
        self._train = CapturedSteps(self._train_step, model) if recorded else self._train_step
        stride = max(1, len(data.train) // len(data.validation))
        self.train_part = data.train[::stride][: len(data.validation)]

    def rehearse(self) -> None:
        """One batch in evaluation mode: what cannot work fails here, before a folder is made."""
        losses = _mean_losses(self.state.model, self.data.validation[:2], self.device, self.dtype)
        if self.monitor == DISTANCE:
            generative(self.state.model, f"monitor {DISTANCE}")
            self._distance = SampleDistance(self.data, self.device)
            losses[DISTANCE] = math.nan  # it is measured after every epoch
        if self.monitor is None and self.settings.patience is not None:
            raise UsageError("patience needs a monitor, and this model has none of its own")
        if self.monitor is not None and self.monitor not in losses:
            raise UsageError(f"monitor {self.monitor!r}: this model has {', '.join(losses)}")

    @property
    def features(self) -> str | None:
        """The name of the net in whose features samples are judged; None where they are not."""
        return None if self._distance is None else self._distance.features

    def _plan(self, steps: int) -> None:
        """What the model does at a share of the training stays where it was when that began."""
        if self.state.model.plans:
            self.state.counters.planned_steps = self.state.model.total_steps = steps

    def restore(self, run: Run) -> None:
        """Take the place of the last checkpoint, or of the one before where that is damaged."""
        try:
            tensors, state = run.load_state("last")
        except MachineError as error:
            tensors, state = run.load_state("last.previous")
            put_aside(run.checkpoint("last"))
            say(f"{error}; going on with the checkpoint before it")
        self.state.restore(tensors, state)
        before = run.environment.get("feature_extractor")
        if self.features is not None and before not in (None, self.features):
            say(f"warning: {run.path}: samples were judged by the net {before}, which is not in "
                f"this user's cache; {self.features} judges from here on")  # fmt: skip
        counters = self.state.counters
        self._plan(counters.planned_steps or self.total_steps)
        if counters.step != counters.epoch * len(self.batches) + counters.batch:
            raise MachineError(
                f"{run.checkpoint('last')}: damaged, its counters contradict one another; "
                "train again"
            )
        say(f"{run.path}: going on after epoch {counters.epoch}, step {counters.step}")

    def go(self, run: Run, request: StopRequest) -> None:
        """Train until the epochs are done, patience ends, or a signal comes."""
        counters = self.state.counters
        epochs = self.settings.epochs
        if counters.epoch >= epochs:
            say(f"{run.path} is finished: {counters.epoch} of {epochs} epochs; --epochs N goes on")
        log = MetricsLog(run, counters.epoch, counters.step, self.settings.tensorboard)
        seen = Training(self.state.model, run, self.settings, counters.step, counters.epoch)
        try:
            for hook in self.hooks:
                hook.on_start(seen)
            while counters.epoch < epochs and not self._out_of_patience() and not seen.stop:
                self._epoch(run, request, seen)
                metrics = self._finish_epoch(run, log)
                seen.epoch = counters.epoch
                for hook in self.hooks:
                    hook.on_epoch_end(seen, metrics)
                self._leave_if_asked(run, request)
            if seen.stop:
                say(f"stopped: {seen.stop}")
            for hook in self.hooks:
                hook.on_end(seen)
        finally:
            log.close()

    def _epoch(self, run: Run, request: StopRequest, seen: Training) -> None:
        counters, size = self.state.counters, self.batches.size
        title = f"epoch {counters.epoch + 1}/{self.settings.epochs}"
        total, done = len(self.batches) * size, counters.batch * size
        last_save = last_time = time.monotonic()
        self.state.model.train()
        sums = _Sums(counters.sums, self.device)
        with Progress(title, total, done=done) as bar:
            for batch in self.batches.epoch(counters.epoch, counters.batch):
                update = self._step(batch)
                sums.add(update)
                if self.device.type == "cpu" or counters.step % 50 == 0:
                    self._refuse_divergence(run, update.losses)
                seen.step = counters.step
                if self.hooks:
                    losses = {name: loss.item() for name, loss in update.losses.players.items()}
                    for hook in self.hooks:
                        hook.on_step_end(seen, losses)
                bar.advance(len(batch.x), sums.note())
                now = time.monotonic()
                counters.elapsed_s += now - last_time
                last_time = now
                stop = request.signal_number is not None
                if stop or now - last_save > self.settings.checkpoint_every_s:
                    last_save = now
                    counters.sums = sums.values()
                    self.save(run)
                if stop:
                    self._leave_if_asked(run, request)
        counters.sums = sums.values()

    def _leave_if_asked(self, run: Run, request: StopRequest) -> None:
        """After a signal, with the state saved just before."""
        if request.signal_number is not None:
            raise Interrupted(
                f"stopped by a signal at step {self.state.counters.step}, saved; go on with "
                f"anogen train --run {run.path} --resume",
                request.signal_number,
            )

    def _step(self, batch: Batch) -> Update:
        counters, settings = self.state.counters, self.settings
        factor = learning_rate_factor(
            counters.step,
            self.total_steps,
            settings.schedule,
            settings.warmup(self.total_steps),
        )
        for player in self.state.players:
            player.scale_rate(factor)
        _seed_noise(self.device, settings.seed, counters.step)
        update = self._train(batch.x, batch.condition, counters.step)
        counters.step += 1
        counters.batch += 1
        if self.decay is not None:
            self.state.average(min(self.decay, counters.step / (counters.step + 10)))
        return update

    def _train_step(self, x: Tensor, condition: Tensor | None, step: int) -> Update:
        return train_step(
            self.state.model, self.state.players, x, step, self.dtype,
            self.settings.clip_gradient, condition,
        )  # fmt: skip

    def _finish_epoch(self, run: Run, log: MetricsLog) -> EpochMetrics:
        """Measure, write the row, the samples and the checkpoints; gives the row."""
        counters = self.state.counters
        running = {f"running_{k}": total / n for k, (total, n) in counters.sums.items()}
        parts = {"train": self.train_part, "validation": self.data.validation}
        measured = {
            f"{part}_{name}": value
            for part, images in parts.items()
            for name, value in _mean_losses(
                self.state.evaluated, images, self.device, self.dtype
            ).items()
        }
        if self._distance is not None:
            evaluated = generative(self.state.evaluated, f"monitor {DISTANCE}")
            measured[f"validation_{DISTANCE}"] = self._distance(evaluated)
        samples = fixed_samples(self.state.evaluated, self.settings.seed, self.data.validation)
        self.state.model.train()
        counters.epoch, counters.batch, counters.sums = counters.epoch + 1, 0, {}
        row = {
            "epoch": counters.epoch,
            "step": counters.step,
            "elapsed_s": round(counters.elapsed_s, 3),
            "images_per_s": round(counters.step * self.batches.size
                                  / max(counters.elapsed_s, 1e-9), 1),
            **running,
            **measured,
        }  # fmt: skip
        unfit = [name for name, value in row.items() if not math.isfinite(value)]
        if unfit:
            raise self._divergence(run, unfit[0])
        log.write(row, grid(samples))
        save_grid(run, counters.epoch, samples)
        self._announce(row)
        if all(f"running_loss_{player.name}" in running for player in self.state.players):
            self._warn(running, samples)
            if self.monitor is not None:
                self._keep_if_best(run, measured[f"validation_{self.monitor}"])
        else:  # somebody rested all the time, as before a game begins
            counters.best_epoch = counters.epoch
        self.save(run)
        return row

    def _keep_if_best(self, run: Run, value: float) -> None:
        counters = self.state.counters
        if counters.best_value is None or value < counters.best_value:
            counters.best_value, counters.best_epoch = value, counters.epoch
            save_checkpoint(run.checkpoint("best"), self.state.weights(), self.state.description())

    def _announce(self, row: EpochMetrics) -> None:
        shown = {k: v for k, v in row.items() if k.startswith("validation_")}
        terms = "  ".join(f"{k.removeprefix('validation_')} {v:.3f}" for k, v in shown.items())
        left = (self.settings.epochs - row["epoch"]) * row["elapsed_s"] / row["epoch"]
        say(
            f"epoch {row['epoch']}/{self.settings.epochs}  validation: {terms}  "
            f"({row['images_per_s']:,.0f} {self.data.things}/s, {left:.0f} s left)"
        )

    def _warn(self, running: dict[str, float], samples: Pixels) -> None:
        """Say what looks like collapse, when it is first seen.

        The discriminator is judged by what it did in training: averaged weights never played.
        """
        if not isinstance(self.state.model, GenerativeModel):
            return
        played = {name.removeprefix("running_"): value for name, value in running.items()}
        seen = dict(collapse_warnings(played, samples, self.state.model.classes))
        for name in sorted(seen.keys() & self._signs - self._warned):  # in two epochs running
            say(f"warning: {seen[name]}")
            self._warned.add(name)
        self._signs = set(seen)
        self._warned &= self._signs

    def _out_of_patience(self) -> bool:
        patience, counters = self.settings.patience, self.state.counters
        stop = patience is not None and counters.epoch - counters.best_epoch >= patience
        if stop and counters.epoch:
            say(f"stopped: no better {self.monitor} since epoch {counters.best_epoch}")
        return bool(stop and counters.epoch)

    def save(self, run: Run) -> None:
        """Write the checkpoint `last`, if everything in it is finite."""
        if not self.state.is_finite():
            raise self._divergence(run, "a weight")
        save_checkpoint(run.checkpoint("last"), self.state.tensors(), self.state.description())

    def _refuse_divergence(self, run: Run, losses: Losses) -> None:
        for name, value in losses.players.items():
            if not math.isfinite(value.item()):
                raise self._divergence(run, f"the loss of {name}")

    def _divergence(self, run: Run, what: str) -> DivergenceError:
        return DivergenceError(
            f"{what} is no longer finite at step {self.state.counters.step}",
            f"{run.checkpoint('last')} keeps the last finite state",
            f"Try a smaller learning_rate (now {self.settings.learning_rate}), clip_gradient 1, "
            "or precision float32",
        )


class _Sums:
    """Sums over an epoch of the batch means of losses and terms, kept on the device."""

    def __init__(self, start: dict[str, tuple[float, int]], device: torch.device) -> None:
        self._sums = {
            name: torch.tensor(total, dtype=torch.float64, device=device)
            for name, (total, _) in start.items()
        }
        self._counts = {name: count for name, (_, count) in start.items()}
        self._added = 0
        self._note = ""

    def add(self, update: Update) -> None:
        means = {f"loss_{name}": value for name, value in update.losses.players.items()}
        means |= {name: value.mean() for name, value in update.losses.terms.items()}
        means |= {f"gradient_norm_{name}": value for name, value in update.gradient_norms.items()}
        for name, value in means.items():
            before = self._sums.get(name)
            self._sums[name] = value.double() if before is None else before + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._added += 1

    def values(self) -> dict[str, tuple[float, int]]:
        totals = torch.stack([*self._sums.values()]).tolist() if self._sums else []
        pairs = zip(self._sums, totals, strict=True)
        return {name: (total, self._counts[name]) for name, total in pairs}

    def note(self) -> str:
        """The means so far, recomputed every 20 batches, because reading them waits for a GPU."""
        if self._added % 20 == 1:
            means = (
                (name, total / count)
                for name, (total, count) in self.values().items()
                if not name.startswith("gradient_norm")
            )
            self._note = "  ".join(f"{name} {value:.3g}" for name, value in means)
        return self._note


@torch.no_grad()
def _mean_losses(
    model: Model, images: Images, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Means over images, in evaluation mode, schedules at their end, with fixed noise."""
    model.eval()
    sums: dict[str, float] = {}
    for index, (x, condition) in enumerate(in_order(images, device)):
        _seed_noise(device, 0, index)
        with matrix_products_in(dtype, device):
            losses = model.losses(x, condition=condition)
        batch_sums = {f"loss_{name}": value * len(x) for name, value in losses.players.items()}
        batch_sums |= {name: value.sum() for name, value in losses.terms.items()}
        for name, value in batch_sums.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    return {name: value / len(images) for name, value in sums.items()}


def _seed_noise(device: torch.device, seed: int, step: int) -> None:
    """Make the noise of a step a function of (seed, step).

    Like `torch.manual_seed`, which takes a hundred times as long, because it also leaves seeds for
    devices that are not there.
    """
    value = int(np.random.SeedSequence((seed, step)).generate_state(1)[0])
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(value)
