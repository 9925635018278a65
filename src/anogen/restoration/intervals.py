"""Intervals for restored pixels that hold what they promise."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anogen.checkpoint import hash_of_tensors
from anogen.data.batches import in_order
from anogen.data.images import Images
from anogen.device import own_randomness
from anogen.errors import MachineError, UsageError, finite_number, first_line
from anogen.models.base import Model, Reconstructs
from anogen.models.restorer import Restorer, noise_level
from anogen.progress import Progress
from anogen.restoration.posterior import posterior_samples
from anogen.run import Run

FILE = "restoration.json"
DRAWS = 20
"""Samples of a posterior from which the spread of a pixel is taken."""
MOST, LEAST, MOST_VALUES = 500, 20, 20_000_000
"""Validation images that calibrate, at most, and fewer where they have more values than that."""
LEAST_SPREAD = 0.5 / 255
AROUND = 5
"""Height and width of what a pixel's surroundings are, for the spread of a `Restorer`."""
OF_NOISE, OF_DETAIL = 0.25, 0.2
"""A guess at the error of a `Restorer`: these shares of the noise and of the detail around."""


@dataclass(frozen=True)
class Intervals:
    """By how much restored pixels are to be trusted.

    The interval of a pixel is its restored value ± `factor` times its spread. The spread is a
    guess: of a model that encodes, the standard deviation over samples from the posterior; of a
    `Restorer` what noise and detail around the pixel let expect. The factor makes a promise of it:
    over images like the validation images, damaged as in training, the mean share of pixels that
    lie in their intervals is at least `share`. (Where restored images are certain of most of their
    pixels, as on a black ground, most of what lies outside is on edges.)

    Attributes:
        share: that is promised.
        factor: see above.
        images: by which it was calibrated.
        damage: of these.

    Source: Angelopoulos et al. 2024, "Conformal risk control", for the factor; Angelopoulos et al.
    2022, "Image-to-image regression with distribution-free uncertainty quantification".
    """

    share: float
    factor: float
    images: int
    damage: str

    @classmethod
    def fit(cls, model: Model, images: Images, share: float = 0.9, seed: int = 0) -> "Intervals":
        """The factor by which a model keeps its promise.

        Args:
            model: one that was trained with damage, in evaluation mode.
            images: undamaged ones that it has not learnt from; up to 500 are used.
            share: of the pixels that are to lie in their intervals.
            seed: of the damage.

        Raises:
            UsageError: the model has not learnt to restore, or there are too few images.
        """
        if not 0 < finite_number("interval", share) < 1:
            raise UsageError(f"interval must lie between 0 and 1, found {share}")
        if model.damage is None or not isinstance(model, Reconstructs):
            raise UsageError("intervals are for a model that was trained with a corruption")
        images = images.evenly(min(MOST, max(LEAST, MOST_VALUES // math.prod(images.shape))))
        count = len(images)
        allowed = ((1 - share) * (count + 1) - 1) / count
        if allowed <= 0:
            raise UsageError(
                f"{images.name}: {count} validation images support no interval of {share:g}; "
                f"{math.floor(1 / (1 - share) + 1e-9)} do"
            )
        ratios: list[Tensor] = []
        device = next(model.parameters()).device
        with own_randomness(), torch.inference_mode(), Progress("calibrating", count) as bar:
            for index, (x, _) in enumerate(in_order(images, device)):
                given = model.damage.fixed(x, seed + index)
                found = model.reconstruct(given)
                ratios.append(((x - found).abs() / spread(model, given, found)).flatten().cpu())
                bar.advance(len(x))
        values = torch.cat(ratios)
        place = min(len(values), math.ceil((1 - allowed) * len(values)) + 1)
        return cls(share, float(values.kthvalue(place).values), count, model.damage.name)

    @classmethod
    def of_run(cls, run: Run, model: Model, share: float) -> "Intervals":
        """Those of a run, kept with it; made where they are missing, from its validation images.

        Raises:
            UsageError: the model has not learnt to restore, or there are too few images.
            DataError: the run's data is not there.
            MachineError: what was kept is damaged.
        """
        kept, digest = run.read_json(FILE), hash_of_tensors(model.state_dict())
        shares: Any = kept.get("shares", {}) if kept.get("weights_sha256") == digest else {}
        key = f"{share:g}"
        try:
            if key in shares:
                made = cls(**shares[key])
                finite_number("factor", made.factor)
                return made
        except (TypeError, UsageError) as error:
            raise MachineError(
                f"{run.inside(FILE)}: damaged ({first_line(error)}); remove it"
            ) from error
        made = cls.fit(model, run.load_data().validation, share)
        if run.is_writable:
            shares = {**shares, key: asdict(made)}
            run.write_json(FILE, {"weights_sha256": digest, "shares": shares})
        return made

    def around(self, model: Model, given: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """The ends of the intervals, each float32 `[b, c, h, w]` in [0, 1].

        Args:
            model: that has restored.
            given: float32 `[b, c, h, w]`, the damaged images.
            found: the restored ones.
        """
        half = self.factor * spread(model, given, found)
        return (found - half).clamp(0, 1), (found + half).clamp(0, 1)


def spread(model: Model, given: Tensor, found: Tensor) -> Tensor:
    """How uncertain each restored pixel is, on some scale: float32 `[b, c, h, w]`, positive."""
    if isinstance(model, Restorer):
        noise = noise_level(given)[:, None, None, None]
        mean = _around(found)
        detail = (_around(found.square()) - mean.square()).clamp(min=0)
        return (OF_NOISE**2 * noise.square() + OF_DETAIL**2 * detail).sqrt() + LEAST_SPREAD
    return posterior_samples(model, given, DRAWS, 0).std(0) + LEAST_SPREAD


def _around(x: Tensor) -> Tensor:
    padded = F.pad(x, (AROUND // 2,) * 4, mode="replicate")
    return F.avg_pool2d(padded, AROUND, 1)
