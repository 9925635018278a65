"""Whether pictures of scenes show the digits, places and inks that captions name."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from anogen.data.batches import evaluation_batch, to_unit
from anogen.data.images import Images
from anogen.data.phrases import Said
from anogen.data.scenes import INKS, PLACES, Scene, draw_scenes
from anogen.device import choose_precision, matrix_products_in, own_randomness
from anogen.evaluation.features import cached_net
from anogen.evaluation.reconstruction import mean_with_interval
from anogen.nets.conv import ConvEncoder
from anogen.progress import Progress

NOTHING = 10
"""In the place of a digit where there is none."""
VERSION = 2
"""Raise it whenever the net or its training changes, so that old ones are not taken for new."""
SCENES, PARTS, BATCH, RATE, SEED = 20_000, 16, 64, 4e-3, 1000
"""So many scenes are drawn so many times, always others."""


class SceneReader(nn.Module):
    """A net that says which digit, in which ink, is at each of the five places."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = ConvEncoder(
            (3, size, size), len(PLACES) * (NOTHING + 1 + len(INKS)), width=32
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """float `[b, 3, h, w]` in [0, 1] → logits of digits `[b, 5, 11]` and inks `[b, 5, 8]`."""
        each = self.encoder(x).float().unflatten(1, (len(PLACES), -1))
        return each[..., : NOTHING + 1], each[..., NOTHING + 1 :]


@dataclass(frozen=True)
class Read:
    """What a reader saw.

    Attributes:
        digits: at each place, 10 for none, int64 `[n, 5]`.
        inks: places in `INKS`, int64 `[n, 5]`; where there is no digit they mean nothing.
    """

    digits: NDArray[np.int64]
    inks: NDArray[np.int64]


def scene_reader(digits: Images, device: torch.device, size: int) -> SceneReader:
    """A reader that has learnt from scenes of all combinations, from the cache or trained.

    Args:
        digits: the handwriting that it learns from.
        device: where to train.
        size: height and width of scenes.
    """
    key = hashlib.sha256(f"{digits.sha256}{size}{VERSION}scenes".encode()).hexdigest()[:16]
    reader = cached_net(key, lambda: SceneReader(size), lambda: _trained(digits, device, size))
    return reader.to(device).eval()


@torch.inference_mode()
def read(reader: SceneReader, images: Images) -> Read:
    """What a reader, in evaluation mode, sees in images."""
    device, size = next(reader.parameters()).device, evaluation_batch(images.shape)
    digits: list[Tensor] = []
    inks: list[Tensor] = []
    for start in range(0, len(images), size):
        part = np.array(images.pixels[start : start + size])
        of_digits, of_inks = reader(to_unit(torch.from_numpy(part).to(device)))
        digits.append(of_digits.argmax(2).cpu())
        inks.append(of_inks.argmax(2).cpu())
    return Read(torch.cat(digits).numpy(), torch.cat(inks).numpy())


def truth(scenes: Sequence[Scene]) -> Read:
    """What there is to be seen.

    >>> from anogen.data.scenes import Figure
    >>> seven = Figure(7, "left", "orange", "small", "upright", "thin")
    >>> truth([Scene("white", (seven,))]).digits.tolist()
    [[10, 10, 7, 10, 10]]
    """
    digits = np.full((len(scenes), len(PLACES)), NOTHING)
    inks = np.zeros_like(digits)
    for row, scene in enumerate(scenes):
        for figure in scene.figures:
            place = PLACES.index(figure.place)
            digits[row, place], inks[row, place] = figure.digit, list(INKS).index(figure.ink)
    return Read(digits, inks)


def rightness(seen: Read, scenes: Sequence[Scene], said: Sequence[Said]) -> dict[str, float | None]:
    """How often what is seen is what captions name.

    Args:
        seen: in pictures that are to show the captions.
        scenes: that the captions are of.
        said: the captions.

    Returns:
        With 95 % intervals (`…_low`, `…_high`): `digits_right`, of all digits, those that are seen
        at their place (of a caption that names no place, at the only place that is taken);
        `places_right`, of all pictures, those where just the places are taken that are to be (of a
        caption that names none, one); `inks_right`, of the inks that are named, those that are
        seen there.
    """
    right: dict[str, list[float]] = {"digits_right": [], "places_right": [], "inks_right": []}
    expected = truth(scenes)
    for row, (scene, caption) in enumerate(zip(scenes, said, strict=True)):
        taken = seen.digits[row] != NOTHING
        places = [PLACES.index(figure.place) for figure in scene.figures]
        if caption.place:
            right["places_right"].append(float((taken == (expected.digits[row] != NOTHING)).all()))
        else:
            right["places_right"].append(float(taken.sum() == 1))
            places = [int(taken.argmax())]
        for figure, place, named in zip(scene.figures, places, caption.inks, strict=True):
            right["digits_right"].append(float(seen.digits[row, place] == figure.digit))
            if named:
                ink = list(INKS)[seen.inks[row, place]]
                right["inks_right"].append(float(taken[place] and ink == figure.ink))
    found: dict[str, float | None] = {}
    for name, values in right.items():
        found |= mean_with_interval(name, np.array(values))
    return found


def _trained(digits: Images, device: torch.device, size: int) -> SceneReader:
    dtype, steps = choose_precision("auto", device), SCENES // BATCH * PARTS
    with own_randomness():
        torch.manual_seed(SEED)
        net = SceneReader(size).to(device, memory_format=torch.channels_last)  # pyright: ignore
        optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        with Progress("training the reader of scenes, once", steps * BATCH) as bar:
            for x, digit, ink in _lessons(digits, device, size):
                with matrix_products_in(dtype, device):
                    seen = net(x)
                loss = F.cross_entropy(seen[0].flatten(0, 1), digit) + F.cross_entropy(
                    seen[1].flatten(0, 1)[digit != NOTHING], ink[digit != NOTHING]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.advance(BATCH)
    return net


def _lessons(
    digits: Images, device: torch.device, size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Scenes `[b, 3, size, size]`, and the digits and inks at all their places, `[5 · b]`."""
    for part in range(PARTS):
        images, scenes = draw_scenes(SCENES, digits, seed=SEED + part, size=size)
        expected = truth(scenes)
        for start in range(0, SCENES - BATCH + 1, BATCH):
            rows = slice(start, start + BATCH)
            x = to_unit(torch.from_numpy(images.pixels[rows]).to(device))
            digit, ink = (
                torch.from_numpy(each[rows]).flatten().to(device)
                for each in (expected.digits, expected.inks)
            )
            yield x, digit, ink
