"""Training steps on a GPU as CUDA graphs: recorded once, then replayed without Python in between.

No GPU has run this yet; on the processor the tests run it with a recorder that replays by calling.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from anogen.models.base import Model
from anogen.progress import say
from anogen.training.step import NORM_EVERY, Update

Step = Callable[[Tensor, Tensor | None, int], Update]
"""Images, conditions and the number of steps done → what the step did."""
Recorder = Callable[[Callable[[], Update]], Callable[[], Update]]
"""Records work without doing it → does it, whenever it is called, on the same memory."""
WARM_UP = 3
"""Steps of each kind that are done as they are, so that libraries and optimisers are set up."""


@dataclass(frozen=True)
class _Recording:
    """A step on tensors of its own, to be filled before each replay."""

    x: Tensor
    condition: Tensor | None
    replay: Callable[[], Update]


class CapturedSteps:
    """A training step that replays what it has recorded, wherever the model says that it may.

    Steps of one phase (`Model.phase`) compute the same function of images, weights and
    noise, so that a recording of one does for all. Noise comes from the default generator, which
    is seeded anew before every step; a replay draws from it as the step itself would.

    Args:
        step: does a step.
        model: whose steps they are.
        record: by default as a CUDA graph.
    """

    def __init__(self, step: Step, model: Model, record: "Recorder | None" = None) -> None:
        self._step, self._record = step, record or record_graph
        self._model = model
        self._recordings: dict[Hashable, _Recording] = {}
        self._done = Counter[Hashable]()
        self._refused = False

    def __call__(self, x: Tensor, condition: Tensor | None, step: int) -> Update:
        """Do a step; the tensors that it gives are overwritten by the next one."""
        phase = self._model.phase(step) if self._model.recordable else None
        kind = (phase, step % NORM_EVERY == 0, x.shape)
        if phase is None or self._refused:
            return self._step(x, condition, step)
        if kind not in self._recordings:
            if self._done[kind] < WARM_UP:
                self._done[kind] += 1
                return _aside(lambda: self._step(x, condition, step), x.device)
            recording = self._try(x, condition, step)
            if recording is None:
                return self._step(x, condition, step)
            self._recordings[kind] = recording
        recording = self._recordings[kind]
        recording.x.copy_(x)
        if recording.condition is not None and condition is not None:
            recording.condition.copy_(condition)
        return recording.replay()

    def _try(self, x: Tensor, condition: Tensor | None, step: int) -> _Recording | None:
        own, own_condition = x.clone(), None if condition is None else condition.clone()
        try:
            return _Recording(
                own, own_condition, self._record(lambda: self._step(own, own_condition, step))
            )
        except RuntimeError as error:
            say(f"training without CUDA graphs, which cannot record this step: {error}")
            self._refused = True
            return None


def record_graph(work: Callable[[], Update]) -> Callable[[], Update]:
    """Work on a GPU as a CUDA graph.

    Raises:
        RuntimeError: the work waits for the processor somewhere.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update = work()

    def replay() -> Update:
        graph.replay()
        return update

    return replay


def _aside(work: Callable[[], Update], device: torch.device) -> Update:
    """Work in a stream of its own, as warming up for a CUDA graph needs."""
    if device.type != "cuda":
        return work()
    current, own = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    own.wait_stream(current)
    with torch.cuda.stream(own):
        done = work()
    current.wait_stream(own)
    return done
