"""How well images show what texts say: judged by a net of its own, trained here on first use."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import count as numbers
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anogen import nets
from anogen.data.batches import Shuffled, in_order, to_bytes
from anogen.data.images import Images
from anogen.data.splits import Splits, expect
from anogen.data.text import tokens_of, words_of
from anogen.device import choose_device, own_randomness
from anogen.errors import DataError
from anogen.evaluation.features import cached_net
from anogen.evaluation.reconstruction import mean_with_interval
from anogen.models.asking import AS_LEARNT, Asking, sample_texts
from anogen.models.base import GenerativeModel, refuse_no_model
from anogen.nets import Shape
from anogen.nets.text import TextCondition
from anogen.progress import Progress

Result = dict[str, Any]

SIZE, WIDTH = 128, 32
"""Of the vectors in which images and texts are compared, and filters of the net of images."""
VERSION = 2
"""Raise it whenever the net or its training changes, so that old ones are not taken for new."""
EPOCHS, MIN_STEPS, BATCH, RATE, SEED = 8, 300, 64, 4e-3, 0
WARM_UP = 0.15
"""Share of the steps in which the learning rate grows; without it nothing is learnt at all."""
AMONG = 100
"""Captions among which an image is to find its own (Xu et al. 2018, section 4)."""


class Matcher(nn.Module):
    """An encoder of images and one of texts, into one space."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.text = TextCondition(SIZE)
        self.encoder = nets.encoder(shape, self.text.outputs, width=WIDTH)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Cosines `[images, texts]` of `[n, c, h, w]` in [0, 1] and tokens `[m, length]`."""
        return self.text.likeness(self.encoder(x), tokens)


def evaluate_texts(
    model: GenerativeModel,
    data: Splits,
    *,
    texts: int = 1000,
    how: Asking = AS_LEARNT,
    device: str = "auto",
) -> Result:
    """Whether new images show what the captions of test images say.

    The judge is a net that learnt on the training images and captions which belong together. It has
    no part in the model.

    Args:
        model: takes texts.
        data: with captions; `train` teaches the judge, `test` has the captions that are asked for.
        texts: how many captions at most, evenly spaced, the first of each image.
        how: images are drawn.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        Flat. `r_precision`, the share of new images that fit their own caption better than 99
        others (or as many as there are; `among` is how many with its own), with its 95 % interval;
        beside it, of the same captions, those of the test images themselves
        (`r_precision_floor`), of training images whose captions are nearest, by the
        words that they share (`r_precision_nearest_caption`), and of samples of empty texts
        (`r_precision_without_text`). `variety`, the root mean square difference in pixels, on the
        [0, 1] scale, of two images of one text, beside that of images of different texts
        (`variety_floor`). `texts`, how many. Images without a caption do not count.

    Raises:
        UsageError: the model takes no texts.
        DataError: the data has no captions, or all that are asked for are the same.
    """
    refuse_no_model(model, "evaluate_texts")
    expect(data, Splits, "evaluate_texts")
    target = choose_device(device)
    model = model.eval().to(target)
    model.asked([""])  # refused before anything is trained
    shown = _captioned(data.test).evenly(texts)
    asked = first_captions(shown)
    rivals = _rivals(asked)
    judge = _judge(data.train, target)
    drawn, again, blind = (
        _as_images(sample_texts(model, part, how))
        for part, how in ((asked, how), (asked, replace(how, seed=how.seed + 1)),
                          ([""] * len(asked), how))
    )  # fmt: skip
    known = _captioned(data.train)
    nearest = known[nearest_captions(asked, first_captions(known))]
    tokens = torch.from_numpy(tokens_of(asked))
    found = {
        "": drawn, "_floor": shown, "_nearest_caption": nearest, "_without_text": blind,
    }  # fmt: skip
    result: Result = {"texts": len(asked), "among": min(AMONG, rivals + 1)}
    for name, images in found.items():
        own = _finds_its_own(judge, images, tokens, asked, target)
        result |= (
            mean_with_interval("r_precision", own) if not name
            else {f"r_precision{name}": float(own.mean())}
        )  # fmt: skip
    return result | {
        "variety": _difference(drawn, again),
        "variety_floor": _difference(drawn, drawn[np.roll(np.arange(len(drawn)), 1)]),
    }


def _captioned(images: Images) -> Images:
    """The images that have a caption."""
    rows = np.flatnonzero([bool(text.strip()) for text in first_captions(images)])
    if not len(rows):
        raise DataError(f"{images.name}: all captions are empty")
    return images[rows]


def _rivals(texts: Sequence[str]) -> int:
    """How many other texts there are for that which is there most often."""
    rivals = len(texts) - max(Counter(texts).values())
    if not rivals:
        raise DataError("all captions of the test images are the same, so that none can be found")
    return rivals


def first_captions(images: Images) -> list[str]:
    """The first caption of each image; an empty one of those without.

    Raises:
        DataError: none has any.
    """
    if images.captions is None:
        raise DataError(f"{images.name}: has no captions")
    return [(*own, "")[0] for own in images.captions]


def nearest_captions(asked: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """For each text, which of the known ones shares most words with it, rare ones counting more.

    Args:
        asked: texts.
        known: others.

    Returns:
        Places in `known`, int64 `[len(asked)]`.

    Examples:
        >>> nearest_captions(["a red seven"], ["a blue two", "one red seven"])
        array([1])
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    settings: Any = {"tokenizer": words_of, "token_pattern": None, "lowercase": False}
    weigh: Any = TfidfVectorizer(**settings)
    of_known: Any = weigh.fit_transform([*known])
    of_asked: Any = weigh.transform([*asked])
    parts = [of_asked[start : start + 100] @ of_known.T for start in range(0, len(asked), 100)]
    return np.concatenate([np.asarray(part.argmax(1)).ravel() for part in parts]).astype(np.int64)


def _as_images(x: Tensor) -> Images:
    return Images(to_bytes(x), "samples")


def _difference(images: Images, others: Images) -> float:
    pairs = zip(images.in_parts(), others.in_parts(), strict=True)
    squares = [((a.pixels[:].astype(np.float32) - b.pixels[:]) / 255) ** 2 for a, b in pairs]
    each = np.concatenate([part.reshape(len(part), -1).mean(1) for part in squares])
    return float(np.sqrt(each).mean())


def _finds_its_own(
    judge: Matcher, images: Images, tokens: Tensor, texts: Sequence[str], device: torch.device
) -> NDArray[np.float64]:
    """Whether each image fits its own text better than 99 others, 1 or 0, float64 `[n]`."""
    with torch.inference_mode():
        parts = [judge(x, tokens.to(device)).cpu() for x, _ in in_order(images, device)]
    fits = torch.cat(parts).numpy()
    rng = np.random.default_rng(SEED)
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    of_text = np.array([places[text] for text in texts])
    own = np.zeros(len(fits))
    for row, fit in enumerate(fits):
        chosen = rng.permutation(np.flatnonzero(of_text != of_text[row]))[: AMONG - 1]
        own[row] = float((fit[chosen] < fit[row]).all())
    return own


def _judge(train: Images, device: torch.device) -> Matcher:
    """The judge of these images and captions, from the cache or trained."""
    if train.captions is None:
        raise DataError(f"{train.name}: has no captions")
    shown = replace(train, labels=None, classes=(), things=None)
    key = hashlib.sha256(f"{shown.sha256}{VERSION}matcher".encode()).hexdigest()[:16]
    judge = cached_net(key, lambda: Matcher(shown.shape), lambda: _trained(shown, device))
    return judge.to(device).eval()


def _trained(train: Images, device: torch.device) -> Matcher:
    with own_randomness():
        torch.manual_seed(SEED)
        net = Matcher(train.shape).to(device, memory_format=torch.channels_last)  # pyright: ignore
        batches = Shuffled(train, BATCH, SEED, device)
        total = max(EPOCHS, -(-MIN_STEPS // len(batches))) * len(batches)
        optimizer = torch.optim.Adam(net.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, RATE, total_steps=total, pct_start=WARM_UP
        )
        endless = (batch for epoch in numbers() for batch in batches.epoch(epoch))
        with Progress("training the judge of texts, once", total * batches.size) as bar:
            for x, tokens in islice(endless, total):
                assert tokens is not None
                outputs = net.encoder(x)
                loss = net.text.told_apart(outputs, net.text(tokens), tokens).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.advance(len(x))
    return net
