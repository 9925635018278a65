"""The features that generated images are compared in: of a net that is trained here on first use.

A network trained on photographs tells little about digits, and needs weights from elsewhere. This
one is small, trained with a fixed seed on the training images of the data set at hand, kept in the
user's cache folder, and named with its accuracy and hash in every result that rests on it. It
learns to predict the labels or, where there are none, by how much an image was turned.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from anogen import nets
from anogen.checkpoint import load_checkpoint, save_checkpoint
from anogen.data.batches import Shuffled, in_order
from anogen.data.images import Images
from anogen.data.splits import Splits
from anogen.device import own_randomness
from anogen.errors import MachineError
from anogen.folders import cache_dir
from anogen.nets import Shape
from anogen.progress import Progress

Net = TypeVar("Net", bound=nn.Module)

FEATURES = 64
VERSION = 1
"""Raise it whenever the net or its training changes, so that old ones are not taken for new."""
EPOCHS, MIN_STEPS, BATCH, RATE, SEED = 3, 200, 128, 2e-3, 0


TURNS = 4
"""Ways in which an image is turned."""


class Classifier(nn.Module):
    """The paper's encoder, or dense layers below 16×16, 64 features; linear for what it tells."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.encoder = nets.encoder(shape, FEATURES)
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` in [0, 1] → float `[b, 64]`, not negative."""
        return F.relu(self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` in [0, 1] → logits `[b, classes]`."""
        return self.head(self.features(x))


@dataclass(frozen=True)
class FeatureExtractor:
    """A trained classifier and where it comes from.

    Attributes:
        net: in evaluation mode.
        classes: labels that it tells; 0: it tells turns, and its labels mean nothing.
        scale: what features are divided by, the root of their mean variance over the test images,
            so that distances do not depend on how large a classifier makes them.
        accuracy: share of the test images that it labels right, or of their turns.
        name: data set, task, version and the first digits of the hash of its weights.
    """

    net: Classifier
    classes: int
    scale: float
    accuracy: float
    name: str

    @torch.inference_mode()
    def __call__(self, images: Images, device: torch.device) -> tuple[NDArray[Any], NDArray[Any]]:
        """Features float64 `[n, 64]` and the most likely labels, or turns, int64 `[n]`."""
        net = self.net.to(device)
        features: list[Tensor] = []
        labels: list[Tensor] = []
        for x, _ in in_order(images, device):
            activations = net.features(x)
            features.append(activations.cpu())
            labels.append(net.head(activations).argmax(1).cpu())
        return torch.cat(features).double().numpy() / self.scale, torch.cat(labels).numpy()


def feature_extractor(data: Splits, device: torch.device) -> FeatureExtractor:
    """The classifier of a data set: from the cache, else trained (about a minute for MNIST).

    Always on the same images, whatever model is judged, so that results compare.

    Args:
        data: `train` teaches; `test` gives accuracy and scale. Where both have labels, and two or
            more, it tells these; else by how much an image is turned (Gidaris et al. 2018).
        device: where to train.
    """
    classes = len(data.train.classes) if can_be_classified(data) else 0
    net = _net(data.train, classes, device).cpu().eval()
    task = f"classifier-{VERSION}" if classes else f"turns-{VERSION}"
    name = f"{data.name}-{task}-{_hash(net)[:8]}"
    accuracy = _accuracy(net, data.test, classes, device)
    features, _ = FeatureExtractor(net, classes, 1.0, accuracy, name)(data.test, device)
    scale = float(features.var(0).mean()) ** 0.5
    return FeatureExtractor(net, classes, scale or 1.0, accuracy, name)


def _net(train: Images, classes: int, device: torch.device) -> Classifier:
    """The net of these training images, from the cache if it is there and whole."""
    key = f"{train.sha256}{VERSION}{'' if classes else 'turns'}"
    return cached_net(
        hashlib.sha256(key.encode()).hexdigest()[:16],
        lambda: Classifier(train.shape, classes or TURNS),
        lambda: trained_classifier(train, classes, device),
    )


def cached_net(key: str, build: Callable[[], Net], train: Callable[[], Net]) -> Net:
    """A net from the user's cache, or else trained and kept there.

    Args:
        key: of its folder, of what it was trained on and how.
        build: makes one with any weights.
        train: makes one that has learnt.
    """
    cache = cache_dir()
    folder = cache and cache / "features" / key
    net = _kept(folder, build)
    if net is None:
        net = train()
        if folder is not None:
            _keep(folder, net)
    return net


def _kept(folder: Path | None, build: Callable[[], Net]) -> Net | None:
    """The net of the cache; None where there is none that is whole."""
    if folder is None:
        return None
    net = build()
    try:
        tensors, _ = load_checkpoint(folder, ("weights",))
        net.load_state_dict(tensors["weights"])
    except (MachineError, KeyError, RuntimeError, TypeError, ValueError):
        return None
    return net


def can_be_classified(data: Splits) -> bool:
    """Whether training and test images are labelled, with two labels or more."""
    labelled = data.train.labels is not None and data.test.labels is not None
    return labelled and len(data.train.classes) > 1


def trained_classifier(
    train: Images, classes: int, device: torch.device, steps: int | None = None
) -> Classifier:
    """A classifier that has learnt from images, in evaluation mode.

    Args:
        train: with labels, unless `classes` is 0.
        classes: how many; 0: it learns by how much images are turned.
        device: where to train.
        steps: of 128 images each; default: three epochs, or 200 where these are more.
    """
    train = replace(train, things=None)
    with own_randomness():
        torch.manual_seed(SEED)
        net = Classifier(train.shape, classes or TURNS)
        net = net.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        batches = Shuffled(train, BATCH, SEED, device)
        total = steps or max(EPOCHS, -(-MIN_STEPS // len(batches))) * len(batches)
        optimizer = torch.optim.Adam(net.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        title = "training the feature extractor, once" if steps is None else "training a classifier"
        endless = (batch for epoch in count() for batch in batches.epoch(epoch))
        with Progress(title, total * batches.size) as bar:
            for x, label in islice(endless, total):
                if not classes:
                    label = torch.randint(TURNS, (len(x),), device=device)
                    x = turned(x, label)
                loss = F.cross_entropy(net(x), cast(Tensor, label))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.advance(len(x))
    return net.eval()


@torch.inference_mode()
def _accuracy(net: Classifier, images: Images, classes: int, device: torch.device) -> float:
    net, images = net.to(device), replace(images, things=None)
    right: list[NDArray[Any]] = []
    for x, label in in_order(images, device):
        if not classes:
            label = torch.arange(TURNS, device=device).repeat_interleave(len(x))
            x = turned(x.repeat(TURNS, 1, 1, 1), label)
        right.append((net(x).argmax(1) == label).cpu().numpy())
    return float(np.concatenate(right).mean())


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Each image turned by its number of quarter turns, or mirrored, where it is no square.

    Args:
        x: `[b, c, h, w]`.
        turns: int64 `[b]`, 0 to 3. Of images that are no squares, 1 mirrors left and right, 2 top
            and bottom, 3 both.

    >>> turned(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([1])).tolist()
    [[[[2, 4], [1, 3]]]]
    """
    y = torch.empty_like(x)
    for turn in range(TURNS):
        rows = turns == turn
        if x.shape[2] == x.shape[3]:
            y[rows] = torch.rot90(x[rows], turn, (2, 3))
        else:
            y[rows] = x[rows].flip([axis for axis, bit in ((3, 1), (2, 2)) if turn & bit])
    return y


def _keep(folder: Path, net: nn.Module) -> None:
    """Into the cache; a cache that cannot be written costs time, no results."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(folder, {"weights": net.state_dict()}, {})
    except (MachineError, OSError):
        return


def _hash(net: Classifier) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
