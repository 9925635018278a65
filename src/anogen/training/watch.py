"""What a person would look at while a model trains: samples after each epoch, signs of collapse."""

import io
import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from PIL import Image

from anogen.data.batches import to_bytes, to_unit
from anogen.data.images import Images, Pixels
from anogen.durable import replace_durably
from anogen.models.base import GenerativeModel, Model, Reconstructs
from anogen.models.conditions import conditions_for
from anogen.models.translator import Translator
from anogen.run import Run

ROWS, COLUMNS = 4, 8
SATURATED = 0.99
"""The discriminator is right on this share of real and of generated images: it has won."""
IDENTICAL = 0.02
"""Standard deviation of a pixel over samples, mean over pixels, below which they look the same."""


@torch.no_grad()
def fixed_samples(model: Model, seed: int, images: Images) -> Pixels:
    """The same latents decoded, whatever the epoch: uint8 `[32, c, h, w]`.

    A conditional model decodes one class after another, or the captions of images. A model without
    latents shows what it makes of the first images, damaged always alike; of fewer than 32, again
    from the first. One that translates shows images, evenly spaced, above what they are in the next
    domain.
    """
    if isinstance(model, Translator) and images.labels is not None:
        return _translated(model.eval(), images)
    generator = torch.Generator().manual_seed(seed)
    count = ROWS * COLUMNS
    if not isinstance(model, GenerativeModel):
        first = images[np.arange(count) % len(images)]
        x = to_unit(torch.from_numpy(np.array(first.pixels[:])))
        x = x if model.damage is None else model.damage.fixed(x, seed)
        x = x.to(next(model.parameters()).device)
        return to_bytes(model.eval().reconstruct(x) if isinstance(model, Reconstructs) else x)
    if model.takes_text:
        condition = conditions_for(model, images[np.arange(count) % len(images)])
    else:
        condition = torch.arange(count) % model.classes if model.classes else None
    return to_bytes(model.eval().sample(count, generator, condition))


def _translated(model: Translator, images: Images) -> Pixels:
    rows = np.linspace(0, len(images) - 1, ROWS // 2 * COLUMNS).astype(np.int64)
    shown = images[rows]
    x = to_unit(torch.from_numpy(np.array(shown.pixels[:]))).to(next(model.parameters()).device)
    assert shown.labels is not None
    other = torch.from_numpy((shown.labels + 1) % model.classes).to(x.device)
    both = torch.stack([x, model.translate(x, other)]).unflatten(1, (ROWS // 2, COLUMNS))
    return to_bytes(both.transpose(0, 1).flatten(0, 2))


def grid(samples: Pixels) -> Pixels:
    """The samples in rows, one picture: uint8 `[4 * h, 8 * w, 1 or 3]`."""
    if samples.shape[1] not in (1, 3):
        samples = samples[:, :1]
    _, channels, height, width = samples.shape
    rows = samples.reshape(ROWS, COLUMNS, channels, height, width).transpose(0, 3, 1, 4, 2)
    return rows.reshape(ROWS * height, COLUMNS * width, channels)


def save_grid(run: Run, epoch: int, samples: Pixels) -> None:
    """Write `samples/epoch_0001.png` into the run's folder."""
    sheet = grid(samples)
    picture = Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    folder = run.inside("samples")
    folder.mkdir(exist_ok=True)
    replace_durably(folder / f"epoch_{epoch:04d}.png", buffer.getvalue())


def collapse_warnings(
    measured: Mapping[str, float], samples: Pixels, classes: int = 0
) -> Iterator[tuple[str, str]]:
    """Name of a sign of collapse, and what it means and what to try.

    Args:
        measured: means of an epoch of training, with the discriminator's accuracies where the
            model has one.
        samples: uint8 `[n, c, h, w]`, from `fixed_samples`.
        classes: of a conditional model, whose samples are compared within a class.

    >>> samples = np.zeros((4, 1, 2, 2), np.uint8)
    >>> [name for name, _ in collapse_warnings({}, samples)]
    ['identical']
    """
    right = [measured.get(f"accuracy_{kind}", 0.0) for kind in ("real", "fake")]
    if min(right) > SATURATED:
        yield (
            "saturated",
            f"the discriminator is right on {min(right):.1%} of real and of generated images, "
            "so that it has little left to teach. Try a larger r1 (without "
            "discriminator_batch_norm), or a smaller learning_rate for the discriminator",
        )
    if _spread(samples, max(1, classes)) < IDENTICAL:
        yield (
            "identical",
            "samples from different latents are nearly identical. If that lasts, try "
            + ("a larger r1, or another loss" if right[0] else "more epochs, or a smaller beta"),
        )


def _spread(samples: Pixels, classes: int) -> float:
    """Standard deviation of a pixel over samples of one class, mean over pixels and classes."""
    groups = [samples[index::classes] / 255.0 for index in range(classes)]
    spreads = [float(group.std(0).mean()) for group in groups if len(group) > 1]
    return float(np.mean(spreads)) if spreads else math.inf
