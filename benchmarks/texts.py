"""How well pictures show what texts say: digits, places and inks on combinations never seen.

    anogen train --model GAN --preset text --data mnist-scenes --run runs/scenes
    python benchmarks/texts.py runs/scenes --data_dir path/to/data --out docs/results/texts.json

2,000 scenes of combinations of digit, ink and place that training never shows, in handwriting of
MNIST's test images, with a caption each. The reader of scenes is a net trained on scenes of all
combinations in the handwriting of MNIST's training images; it has no part in the model. Each way is
read by it:

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
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import anogen
from anogen.data.batches import to_bytes
from anogen.data.phrases import Said, say_scene
from anogen.data.scenes import Scene, draw_scenes
from anogen.durable import replace_durably
from anogen.evaluation.scenes import SceneReader, read, rightness, scene_reader
from anogen.evaluation.texts import first_captions, nearest_captions
from anogen.models.asking import Asking, sample_texts
from anogen.models.base import GenerativeModel, generative

COUNT, SEED = 2000, 5
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
    parser.add_argument("run")
    parser.add_argument("--data_dir")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    run = anogen.Run.open(options.run)
    model = generative(run.load_model(), "texts").eval()
    data = run.load_data(options.data_dir)
    handwriting = anogen.load_data("mnist", data_dir=options.data_dir)
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
    taken = seconds(options.run)
    result = {
        "scenes": COUNT, "epochs": run.config["epochs"], "checkpoint_epoch": run.epoch_of(None),
        "training_minutes": round(sum(row["elapsed_s"] for row in run.metrics[-1:]) / 60, 1),
        "rows": rows, "guidance": guided,
        "texts": anogen.evaluate_texts(model, data, texts=COUNT),
        "best_of_8": anogen.evaluate_texts(model, data, texts=COUNT, how=Asking(best_of=8)),
        "generation": anogen.evaluate_generation(model, data, samples=COUNT),
        "seconds_to_picture": round(median(taken), 2),
        "machine": {"cores": len(os.sched_getaffinity(0))},
    }  # fmt: skip
    replace_durably(options.out, (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps({k: v for k, v in result.items() if k != "rows"}), flush=True)


if __name__ == "__main__":
    main()
