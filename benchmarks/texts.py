"""How well pictures show what texts say: scenes of digits in combinations never seen, and emoji.

    anogen train --model GAN --preset text --data mnist-scenes --epochs 20 --run runs/scenes
    python benchmarks/texts.py scenes runs/scenes --out docs/results/texts.json
    python benchmarks/texts.py prepare path/to/emoji_pairs_32.npz --out emoji
    anogen train --model GAN --preset text --data emoji --group base --epochs 100 --run runs/emoji
    python benchmarks/texts.py emoji runs/emoji --out docs/results/texts.json

`scenes`: 1,000 scenes of combinations of digit, ink and place that training never shows, in
handwriting of MNIST's test images, with a caption each. The reader of scenes is a net trained on
scenes of all combinations in the handwriting of MNIST's training images; it has no part in the
model. Each way is read by it:

- `real`: the scenes themselves;
- `samples`: one new picture for each caption; `best_of_8`: of eight the one that fits its caption
  best as the model judges; `guided`: with the guidance that was best, by the digits that the reader
  finds, on captions of combinations that training does show;
- `other_phrases`: new pictures for captions in words and orders that training never has;
- `nearest_caption`: training pictures whose captions share most words; `without_text`: new pictures
  for empty captions.

Beside these: how often pictures find their own caption among 100 and how varied those of one are
(`anogen.evaluate_texts`), the Fréchet distance and the nearest training images
(`anogen.evaluate_generation`), and seconds from the shell to a picture.

`emoji`: the emoji of two artists (Noto, Apache 2.0; Twemoji, CC-BY 4.0) from their names. Test
emoji are of other bases than those that were learnt from. A classifier that is trained on the
categories of the training emoji says of which category new pictures for the names of test emoji
are.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import anogen
from anogen.data.batches import in_order, to_bytes
from anogen.data.phrases import Said, say_scene
from anogen.data.scenes import Scene, draw_scenes
from anogen.durable import replace_durably
from anogen.evaluation.features import Classifier, trained_classifier
from anogen.evaluation.reconstruction import mean_with_interval
from anogen.evaluation.scenes import SceneReader, read, rightness, scene_reader
from anogen.evaluation.texts import first_captions, nearest_captions
from anogen.models.asking import Asking, sample_texts
from anogen.models.base import GenerativeModel, generative

COUNT, SEED = 1000, 5
GUIDANCES = (0.8, 1.0, 1.25, 1.5, 2.0)
CHOSEN_ON = 500
TRIES, TEXT = 5, "a red seven on the left of a large blue two"


def drawn(model: GenerativeModel, texts: list[str], how: Asking) -> anogen.Images:
    """New pictures for texts, as bytes."""
    return anogen.Images(to_bytes(sample_texts(model, texts, how)), "samples")


def captions(scenes: list[Scene], others: bool = False) -> list[Said]:
    """One of each scene."""
    rng = np.random.default_rng(SEED)
    return [say_scene(scene, rng, others=others) for scene in scenes]


def guidance(model: GenerativeModel, reader: SceneReader, digits: anogen.Images) -> dict[str, Any]:
    """Which one is best on combinations that training shows."""
    _, scenes = draw_scenes(CHOSEN_ON, digits, seed=SEED + 1, combinations="seen")
    said = captions(scenes)
    found = {
        value: rightness(
            read(reader, drawn(model, [s.text for s in said], Asking(guidance=value))), scenes, said
        )["digits_right"]
        for value in GUIDANCES
    }
    best = max(found, key=lambda value: found[value] or 0.0)
    return {"tried": {str(value): right for value, right in found.items()}, "chosen": best}


def seconds(run: str) -> list[float]:
    """From the shell to a picture, each time in a new process."""
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(TRIES):
            command = [sys.executable, "-m", "anogen", "sample", run, "--text", TEXT,
                       "--out", f"{folder}/{number}.png"]  # fmt: skip
            begin = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            taken.append(time.monotonic() - begin)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("scenes", "emoji", "prepare"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--data_dir")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.what == "prepare":
        prepare(options.path, options.out)
        return
    run = anogen.Run.open(options.path)
    found = scenes_of(run, options.data_dir) if options.what == "scenes" else emoji_of(run)
    found |= {
        "epochs": run.config["epochs"], "checkpoint_epoch": run.epoch_of(None),
        "training_minutes": round(run.metrics[-1]["elapsed_s"] / 60, 1),
        "machine": {"cores": len(os.sched_getaffinity(0))},
    }  # fmt: skip
    kept: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    kept[options.what] = found
    replace_durably(options.out, (json.dumps(kept, indent=1) + "\n").encode())
    print(json.dumps(found, indent=1), flush=True)


def scenes_of(run: anogen.Run, data_dir: str | None) -> dict[str, Any]:
    """All that is measured of a run on scenes."""
    model = generative(run.load_model(), "texts").eval()
    data = run.load_data(data_dir)
    handwriting = anogen.load_data("mnist", data_dir=data_dir)
    reader = scene_reader(handwriting.train, torch.device("cpu"), data.shape[1])
    real, scenes = draw_scenes(COUNT, handwriting.test, seed=SEED, combinations="unseen")
    said, others = captions(scenes), captions(scenes, others=True)
    texts = [caption.text for caption in said]
    guided = guidance(model, reader, handwriting.train)
    near = nearest_captions(texts, first_captions(data.train))
    ways = {
        "real": (real, said),
        "samples": (drawn(model, texts, Asking()), said),
        "best_of_8": (drawn(model, texts, Asking(best_of=8)), said),
        "guided": (drawn(model, texts, Asking(guidance=guided["chosen"])), said),
        "other_phrases": (drawn(model, [s.text for s in others], Asking()), others),
        "nearest_caption": (data.train[near], said),
        "without_text": (drawn(model, [""] * COUNT, Asking()), said),
    }
    rows: dict[str, Any] = {
        name: rightness(read(reader, images), scenes, asked)
        for name, (images, asked) in ways.items()
    }
    for name, row in rows.items():
        print(name, json.dumps(row), flush=True)
    return {
        "scenes": COUNT, "rows": rows, "guidance": guided,
        "texts": anogen.evaluate_texts(model, data, texts=COUNT),
        "best_of_8": anogen.evaluate_texts(model, data, texts=COUNT, how=Asking(best_of=8)),
        "generation": anogen.evaluate_generation(model, data, samples=COUNT),
        "seconds_to_picture": round(median(seconds(str(run.path))), 2),
    }  # fmt: skip


def prepare(archive: Path, out: Path) -> None:
    """Write the emoji of both artists into one folder, with their names as captions."""
    data = np.load(archive)
    rows = [["file_name", "text", "category", "base"]]
    for artist in ("noto", "twemoji"):
        (out / artist).mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(data[artist]):
            name, caption = f"{artist}/{number:04}.png", str(data["caption"][number])
            Image.fromarray(pixels.transpose(1, 2, 0)).save(out / name)
            rows.append([name, caption, str(data["category"][number]), caption.split(" skin ")[0]])
    with (out / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def emoji_of(run: anogen.Run) -> dict[str, Any]:
    """All that is measured of a run on emoji."""
    model = generative(run.load_model(), "texts").eval()
    data = run.load_data()
    train, test = (in_categories(Path(str(data.source["data"])), part)
                   for part in (data.train, data.test))  # fmt: skip
    classifier = trained_classifier(train, len(train.classes), torch.device("cpu"), steps=3000)
    texts = first_captions(data.test)
    near = nearest_captions(texts, first_captions(data.train))
    ways = {
        "real": data.test,
        "samples": drawn(model, texts, Asking()),
        "best_of_8": drawn(model, texts, Asking(best_of=8)),
        "nearest_caption": data.train[near],
        "without_text": drawn(model, [""] * len(texts), Asking()),
    }
    rows = {
        name: mean_with_interval("category", category_right(classifier, images, test.labels))
        for name, images in ways.items()
    }
    return {
        "rows": rows, "test": len(texts), "train": len(data.train),
        "texts": anogen.evaluate_texts(model, data),
        "best_of_8": anogen.evaluate_texts(model, data, how=Asking(best_of=8)),
        "generation": anogen.evaluate_generation(model, data, samples=len(texts)),
    }  # fmt: skip


def in_categories(folder: Path, images: anogen.Images) -> anogen.Images:
    """The images with the categories of their captions as labels."""
    with (folder / "metadata.csv").open(newline="") as file:
        known = {row["text"]: row["category"] for row in csv.DictReader(file)}
    names = tuple(sorted(set(known.values())))
    labels = np.array([names.index(known[text]) for text in first_captions(images)])
    return replace(images, labels=labels, classes=names, captions=None)


@torch.inference_mode()
def category_right(
    classifier: Classifier, images: anogen.Images, labels: Any
) -> NDArray[np.float64]:
    """Whether each image is seen as of its category, 1 or 0."""
    plain = replace(images, labels=None, classes=(), captions=None)
    seen = [classifier(x).argmax(1) for x, _ in in_order(plain, torch.device("cpu"))]
    return (torch.cat(seen).numpy() == labels).astype(np.float64)


if __name__ == "__main__":
    main()
