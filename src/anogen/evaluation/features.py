"""The features that generated images are compared in: a classifier's, trained here on first use.

A network trained on photographs tells little about digits, and needs weights from elsewhere. This
one is small, trained with a fixed seed on the training images of the data set at hand, kept in the
user's cache folder, and named with its accuracy and hash in every result that rests on it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

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
from anogen.errors import DataError, MachineError
from anogen.folders import cache_dir
from anogen.nets import Shape
from anogen.progress import Progress

FEATURES = 64
VERSION = 1
"""Raise it whenever the net or its training changes, so that old ones are not taken for new."""
EPOCHS, MIN_STEPS, BATCH, RATE, SEED = 3, 200, 128, 2e-3, 0


class Classifier(nn.Module):
    """The paper's encoder, or dense layers below 16×16, with 64 features; linear for the labels."""

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
        scale: what features are divided by, the root of their mean variance over the test images,
            so that distances do not depend on how large a classifier makes them.
        accuracy: share of the test images that it labels right.
        name: data set, version and the first digits of the hash of its weights.
    """

    net: Classifier
    scale: float
    accuracy: float
    name: str

    @torch.inference_mode()
    def __call__(self, images: Images, device: torch.device) -> tuple[NDArray[Any], NDArray[Any]]:
        """Features float64 `[n, 64]` and the most likely labels int64 `[n]`, in float32."""
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
        data: with labels; `train` teaches and `test` gives the accuracy.
        device: where to train.

    Raises:
        DataError: the data has no labels, or only one.
    """
    if not can_be_classified(data):
        raise DataError(
            f"{data.name}: distances need a classifier, and that two labels or more, in training "
            "and in test images"
        )
    key = f"{data.train.sha256}{data.test.sha256}{VERSION}"
    cache = cache_dir()
    folder = cache and cache / "features" / hashlib.sha256(key.encode()).hexdigest()[:16]
    net, accuracy = _kept(folder, data) or _trained_and_kept(folder, data, device)
    net = net.cpu().eval()
    name = f"{data.name}-classifier-{VERSION}-{_hash(net)[:8]}"
    features, _ = FeatureExtractor(net, 1.0, accuracy, name)(data.test, device)
    scale = float(features.var(0).mean()) ** 0.5
    return FeatureExtractor(net, scale or 1.0, accuracy, name)


def _kept(folder: Path | None, data: Splits) -> tuple[Classifier, float] | None:
    """The classifier of the cache with its accuracy; None where there is none that is whole."""
    if folder is None:
        return None
    net = Classifier(data.shape, len(data.train.classes))
    try:
        tensors, state = load_checkpoint(folder)
        net.load_state_dict(tensors["weights"])
        return net, float(state["accuracy"])
    except (MachineError, KeyError, RuntimeError, TypeError, ValueError):
        return None


def _trained_and_kept(
    folder: Path | None, data: Splits, device: torch.device
) -> tuple[Classifier, float]:
    net = _trained(data, device)
    accuracy = _accuracy(net, data.test, device)
    if folder is not None:
        _keep(folder, net, accuracy)
    return net, accuracy


def can_be_classified(data: Splits) -> bool:
    """Whether training and test images are labelled, with two labels or more."""
    labelled = data.train.labels is not None and data.test.labels is not None
    return labelled and len(data.train.classes) > 1


def _trained(data: Splits, device: torch.device) -> Classifier:
    with own_randomness():
        torch.manual_seed(SEED)
        net = Classifier(data.shape, len(data.train.classes))
        net = net.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        batches = Shuffled(data.train, BATCH, SEED, device)
        epochs = max(EPOCHS, -(-MIN_STEPS // len(batches)))
        optimizer = torch.optim.Adam(net.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
        title = "training the feature extractor, once"
        with Progress(title, epochs * len(batches) * batches.size) as bar:
            for epoch in range(epochs):
                for x, label in batches.epoch(epoch):
                    loss = F.cross_entropy(net(x), cast(Tensor, label))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                    bar.advance(len(x))
    return net.eval()


@torch.inference_mode()
def _accuracy(net: Classifier, images: Images, device: torch.device) -> float:
    right = [(net(x).argmax(1) == label).cpu().numpy() for x, label in in_order(images, device)]
    return float(np.concatenate(right).mean())


def _keep(folder: Path, net: Classifier, accuracy: float) -> None:
    """Into the cache; a cache that cannot be written costs time, no results."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(folder, {"weights": net.state_dict()}, {"accuracy": accuracy})
    except (MachineError, OSError):
        return


def _hash(net: Classifier) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
