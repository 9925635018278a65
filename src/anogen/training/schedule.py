"""The learning rate as a pure function of the step."""

import math

from anogen.training.settings import Schedule


def learning_rate_factor(
    step: int, total_steps: int, schedule: Schedule = "constant", warmup_steps: int = 0
) -> float:
    """What the learning rate is multiplied with at a step, in [0, 1].

    Grows linearly over `warmup_steps`, then stays (`constant`) or falls to 0 at `total_steps` along
    half a cosine (`cosine`; Loshchilov & Hutter 2017, without restarts).

    >>> [learning_rate_factor(step, 100, "cosine", 10) for step in (0, 9, 55, 100)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    share = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
