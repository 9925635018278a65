"""How well flips and turns can be told at all: by a net that is trained on them, with labels.

    python benchmarks/panel_ceiling.py --out docs/results/panel_ceiling.json

No detector sees what it is to find; this one sees nothing else. It is the upper end of what a
detector could reach. Of its epochs, the one that is best on validation images counts.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from anogen import Images, corrupt, load_data, nets
from anogen.data.batches import Shuffled, in_order

TRANSFORMATIONS = ("rotation=90", "horizontal_flip", "vertical_flip")
TRAINING_IMAGES = 20_000
BATCH_SIZE = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = {
        data: {name: ceiling(data, name, options.epochs) for name in TRANSFORMATIONS}
        for data in ("mnist", "fashion-mnist")
    }
    settings = {"epochs": options.epochs, "training_images": TRAINING_IMAGES}
    options.out.write_text(json.dumps(settings | {"auroc": found}, indent=1) + "\n")


def ceiling(name: str, transformation: str, epochs: int) -> float:
    """AUROC on test images of the net that is best on validation images."""
    data = load_data(name)
    step = len(data.train) // TRAINING_IMAGES
    train, validation, test = (
        beside(part, corrupt(part, transformation))
        for part in (data.train[::step], data.validation, data.test)
    )
    torch.manual_seed(0)
    net = nets.encoder(data.shape, 1, width=16)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    batches = Shuffled(train, BATCH_SIZE, 0, torch.device("cpu"))
    best = (0.0, 0.0)
    for epoch in range(epochs):
        net.train()
        for batch in batches.epoch(epoch):
            assert batch.condition is not None
            loss = F.binary_cross_entropy_with_logits(net(batch.x)[:, 0], batch.condition.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        best = max(best, (auroc(net.eval(), validation), auroc(net, test)))
    return best[1]


def beside(usual: Images, changed: Images) -> Images:
    """Both, with label 1 for what is changed."""
    pixels = np.concatenate([usual.pixels[:], changed.pixels[:]])
    return replace(usual, pixels=pixels, labels=np.repeat([0, 1], len(usual)))


@torch.no_grad()
def auroc(net: nets.Encoder, images: Images) -> float:
    logits = torch.cat([net(batch.x)[:, 0] for batch in in_order(images, torch.device("cpu"))])
    return float(roc_auc_score(images.labels, logits.numpy()))


if __name__ == "__main__":
    main()
