"""How well defects of parts are found, and where, on magnetic tiles laid out as MVTec AD is.

    python benchmarks/parts.py path/to/tiles --out docs/results/parts.json

Questions, each kept as it is answered; what is there already is left:

- `synthetic`: AUROC on defects drawn into a quarter of the good training tiles, fitted on the
  others.
- `tiles`: fitted on the good training pictures, tested on `test/good` and on all kinds of defects,
  with masks; thresholds from held-out good training pictures; tiles, not pictures, are held out;
  seconds to fit, and milliseconds from one array to a verdict.
- `model`: the same for scores of a trained VAE.
- `few`: the same with 20, 50 and 200 good pictures.

The net that learns from drawn defects has seeds of its own; other scores have nothing random.
"""

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import anogen
from anogen import Detector, Images
from anogen.data.defects import DEFECTS, add_defect
from anogen.data.masks import Masked, kinds_of_defects, masks_beside, read_masked
from anogen.data.pictures import Pictures
from anogen.data.splits import Splits
from anogen.data.walk import walk
from anogen.detection.features import SOURCES
from anogen.detection.features.learnt import learn_defects
from anogen.detection.localisation import Localisation
from anogen.detection.metrics import intervals
from anogen.durable import replace_durably

SIZE = 128
GROUP = r"^[^_]*"
RATE = 0.01
EPOCHS = 30
SIMPLE = ("nearest_pixels", "principal_error")
OF_MODEL = ("fused", "local_gaussian_encoder")
PLACES = ("local_gaussian_pixels", "local_gaussian_pretrained", "local_gaussian_learnt",
          "patch_neighbours_pixels", "patch_neighbours_pretrained",
          "patch_neighbours_learnt")  # fmt: skip
LEARNT = "local_gaussian_learnt"
FEW = ("local_gaussian_pixels", LEARNT, "local_gaussian_pretrained")

Scores = NDArray[np.float64]


LEARNT_SOURCE = SOURCES["learnt"]
trained: dict[tuple[str, int], dict[str, torch.Tensor]] = {}
"""Nets that two scores share, by images and seed."""


def with_seed(seed: int) -> None:
    """Let the net that learns from drawn defects start from a seed."""

    def weights(images: Images, device: torch.device) -> dict[str, torch.Tensor]:
        key = hashlib.sha256(np.array(images.pixels[:]).tobytes()).hexdigest(), seed
        if key not in trained:
            trained[key] = learn_defects(images, device, seed)
        return trained[key]

    SOURCES["learnt"] = replace(LEARNT_SOURCE, weights=weights)


def judged(good: Scores, bad: Scores) -> dict[str, float]:
    """AUROC with its interval, and the share of defects found at 1 % of false alarms."""
    truth = np.repeat([0, 1], [len(good), len(bad)])
    bounds = intervals(good, bad)
    return {
        "auroc": round(float(roc_auc_score(truth, np.concatenate([good, bad]))), 5),
        "auroc_low": round(bounds["auroc"][0], 5), "auroc_high": round(bounds["auroc"][1], 5),
        "found": round(float((bad > np.quantile(good, 0.99)).mean()), 5),
    }  # fmt: skip


def on_tiles(detector: Detector, data: Splits, kinds: list[Masked]) -> dict[str, Any]:
    """All measures of one detector."""
    good = detector.score(data.test)
    bad = {kind.images.name: detector.score(kind.images) for kind in kinds}
    row: dict[str, Any] = judged(good, np.concatenate(list(bad.values())))
    threshold = detector.calibration.threshold(max(RATE, 1 / len(detector.calibration.scores)))
    row["flagged_good"] = round(float((good > threshold).mean()), 5)
    row["flagged_bad"] = round(float((np.concatenate(list(bad.values())) > threshold).mean()), 5)
    row["kinds"] = {name: judged(good, scores)["auroc"] for name, scores in bad.items()}
    if anogen.SCORES[detector.name].map is not None:
        maps = np.concatenate(
            [detector.map(data.test), *(detector.map(kind.images) for kind in kinds)]
        )
        empty = np.zeros((len(data.test), *maps.shape[1:]), np.bool_)
        found = Localisation.of(maps, np.concatenate([empty, *(kind.masks for kind in kinds)]))
        row |= {key: round(value, 5) for key, value in found.measures().items()}
        for key, (low, high) in found.intervals().items():
            row |= {f"{key}_low": round(low, 5), f"{key}_high": round(high, 5)}
    return row


def synthetic(data: Splits, tiles: list[str]) -> tuple[Splits, dict[str, Images]]:
    """A quarter of the training tiles held out, and each kind of defect drawn into them."""
    generator = np.random.default_rng(0)
    names = np.array(tiles)
    held = generator.permutation(np.unique(names))[: len(np.unique(names)) // 4]
    out = np.isin(names, held)
    pixels = np.asarray(data.train.pixels[:])
    rest, good = pixels[~out], pixels[out]
    drawn: dict[str, Images] = {}
    for kind in DEFECTS:
        bad = [
            add_defect(picture, rest[generator.integers(len(rest))] / np.float32(255), generator,
                       kind)[0]
            for picture in good / np.float32(255)
        ]  # fmt: skip
        drawn[kind] = Images(np.rint(255 * np.stack(bad)).astype(np.uint8), kind)
    whole = Images(good, "held out")
    return Splits(Images(rest, "tiles"), whole, whole), drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", help="one question")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    kept: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}

    def answer(question: str, key: str, ask: Callable[[], dict[str, Any]]) -> None:
        known: dict[str, Any] = kept.setdefault(question, {})
        if key in known or options.only not in (None, question):
            return
        known[key] = ask()
        replace_durably(options.out, (json.dumps(kept, indent=1) + "\n").encode())
        print(question, key, json.dumps(known[key]), flush=True)

    data = anogen.load_data(options.tiles, image_size=SIZE, group=GROUP, false_positive_rate=RATE)
    pictures = Pictures(SIZE, channels=1)
    kinds: list[Masked] = []
    for folder in kinds_of_defects(options.tiles):
        masks = masks_beside(folder)
        assert masks is not None
        kinds.append(read_masked(folder, masks, pictures))
    torch.manual_seed(0)
    blank = anogen.VAE(data.shape, latent=8)
    files = [path.name.split("_")[0] for path in walk(options.tiles / "train" / "good").files]
    whole = Images(_read(options.tiles / "train" / "good", pictures), "tiles")
    with_seed(0)
    for name in (*SIMPLE, *PLACES):

        def on_drawn(name: str = name) -> dict[str, Any]:
            splits, drawn = synthetic(Splits(whole, whole, whole), files)
            detector = Detector.fit(blank, splits, name)
            good = detector.score(splits.test)
            found = {
                kind: judged(good, detector.score(bad))["auroc"] for kind, bad in drawn.items()
            }
            return {"auroc": round(statistics.mean(found.values()), 5), "kinds": found}

        answer("synthetic", name, on_drawn)
    for seed in range(options.seeds):
        for name in (*SIMPLE, *PLACES):
            if seed and name != LEARNT:
                continue

            def fitted(name: str = name, seed: int = seed) -> dict[str, Any]:
                with_seed(seed)
                start = time.perf_counter()
                detector = Detector.fit(blank, data, name)
                seconds = time.perf_counter() - start
                return {"fit_s": round(seconds, 1), **on_tiles(detector, data, kinds),
                        "ms_one": milliseconds(detector, data.test)}  # fmt: skip

            answer("tiles", f"{name}, {seed}", fitted)
    with_seed(0)

    def of_model() -> dict[str, Any]:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            model = anogen.VAE(data.shape, latent=32)
            start = time.perf_counter()
            run = anogen.fit(model, data, Path(folder) / "run", epochs=EPOCHS, batch_size=32)
            seconds = time.perf_counter() - start
            trained = run.load_model()
            found = Detector.fit_all(trained, data, OF_MODEL)
            return {"train_s": round(seconds, 1), **{
                detector.name: on_tiles(detector, data, kinds) for detector in found
            }}  # fmt: skip

    answer("model", "VAE", of_model)
    for count, name in product((50, 20, 200), FEW):

        def with_few(name: str = name, count: int = count) -> dict[str, Any]:
            order = np.random.default_rng(0).permutation(len(data.train))[:count]
            few = Splits(data.train[np.sort(order)], data.validation, data.test)
            return on_tiles(Detector.fit(blank, few, name), data, kinds)

        answer("few", f"{name}, {count}", with_few)


def _read(folder: Path, pictures: Pictures) -> NDArray[np.uint8]:
    return np.stack([pictures.read(path).transpose(2, 0, 1) for path in walk(folder).files])


def milliseconds(detector: Detector, images: Images) -> float:
    """Median time from one array to a verdict, after a first one."""
    one = np.array(images.pixels[:1])
    detector.predict(one)
    times: list[float] = []
    for _ in range(15):
        start = time.perf_counter()
        detector.predict(one)
        times.append(time.perf_counter() - start)
    return round(1000 * statistics.median(times), 2)


if __name__ == "__main__":
    main()
