r"""How well images are translated between domains, beside copies, nearest pairs and published work.

    python benchmarks/translation.py prepare path/to/emoji_pairs_32.npz --out emoji
    python benchmarks/translation.py measure runs --out docs/results/translation.json

`prepare` writes the emoji of two artists into the folders `noto` and `twemoji`, with a
metadata.csv that says which are the same, and of which base they are (skin tones aside), so that
held-out emoji are of bases that were not learnt from.

`runs` holds runs of these names (as many as there are are measured), trained so:

    anogen train --model Translator --preset recommended --data usps+zoom=0.714,mnist \
        --run runs/digits
    anogen train --model Translator --preset pairs --data emoji --pairs thing --group base \
        --run runs/emoji-paired
    anogen train --model Translator --preset recommended --data emoji --group base --epochs 25 \
        --run runs/emoji-unpaired
    anogen train --model Translator --preset pairs --data emoji/noto+grey,emoji/noto \
        --pairs order --group base --run runs/colour
    anogen train --model Translator --preset pairs --data emoji/noto+edges,emoji/noto \
        --pairs order --group base --run runs/edges

Every run is measured once; what is there already is left. Digits of USPS are brought to the size
that MNIST's have in their frame (20 of 28 pixels) by `zoom`, for the two are published with other
margins; what this alone gives stands in the table as "untranslated".
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from anogen import Run
from anogen.data.catalog import load_domains
from anogen.durable import replace_durably
from anogen.evaluation.translation import MEASURES, evaluate_translation, translated_images
from anogen.models.translator import Translator
from anogen.report.figures import mosaic, save

STEPS = 1000
"""Of classifiers that learn from translations, with 128 images each."""
SHOWN = 12


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("prepare", "measure"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path, help="a folder for pictures of translations")
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.what == "prepare":
        prepare(options.path, options.out)
        return
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for folder in sorted(
        path for path in options.path.iterdir() if (path / "config.yaml").exists()
    ):
        run = Run.open(folder)
        if run.name not in found:
            found[run.name] = measured(run)
            replace_durably(options.out, (json.dumps(found, indent=1) + "\n").encode())
            for row in found[run.name]["rows"]:
                print(run.name, {k: v for k, v in row.items() if k.startswith(tuple(MEASURES))})
        if options.picture is not None:
            picture(run, options.picture / f"translation_{run.name}.png")


def prepare(archive: Path, out: Path) -> None:
    data = np.load(archive)
    rows: list[list[str]] = []
    for artist in ("noto", "twemoji"):
        (out / artist).mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(data[artist]):
            name = f"{artist}/{number:04}.png"
            Image.fromarray(pixels.transpose(1, 2, 0)).save(out / name)
            base = str(data["caption"][number]).split(" skin ")[0]
            rows.append([name, artist, f"{number:04}", base])
    described(out, ["file_name", "label", "thing", "base"], rows)
    alone = [[name.partition("/")[2], base] for name, artist, _, base in rows if artist == "noto"]
    described(out / "noto", ["file_name", "base"], alone)


def described(folder: Path, names: list[str], rows: list[list[str]]) -> None:
    """Write the file that says of each picture what it shows."""
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)


def measured(run: Run) -> dict[str, Any]:
    model = run.load_model()
    assert isinstance(model, Translator)
    data = run.load_data()
    rows = evaluate_translation(model, data, load_domains(data), adaptation_steps=STEPS)
    about = {
        "data": "+".join(part.rpartition("/")[2] for part in data.name.split("+")),
        "epochs": run.config["epochs"],
        "seed": run.config["seed"],
        "seconds": run.metrics[-1]["elapsed_s"],
        "images": len(data.train),
    }
    if any("+grey" in name for name in data.train.classes):
        about["mean_colour"] = mean_colour(data)
    return {**about, "rows": rows}


def mean_colour(data: Any) -> dict[str, float]:
    """PSNR of grey pictures with the mean colour of the training pictures added to each pixel."""
    grey, colour = (
        [part.pixels[:][part.labels == k].astype(np.float64) / 255 for k in (0, 1)]
        for part in (data.train, data.test)
    )
    tint = (grey[1] - grey[0]).mean((0, 2, 3), keepdims=True)
    tinted = np.clip(colour[0] + tint, 0, 1)
    errors = ((tinted - colour[1]) ** 2).mean((1, 2, 3))
    return {"psnr_db": float((-10 * np.log10(np.maximum(errors, 1e-10))).mean())}


def picture(run: Run, path: Path) -> None:
    """Test images of each domain above their translations, and above the true ones of pairs."""
    model = run.load_model()
    assert isinstance(model, Translator)
    data = run.load_data()
    rows: list[Any] = []
    labels: list[str] = []
    names = [name.rpartition("/")[2] for name in data.test.classes]
    for source, target in ((0, 1), (1, 0)):
        test = data.test
        assert test.labels is not None
        shown = test[np.flatnonzero(test.labels == source)].evenly(SHOWN)
        rows += [shown.pixels[:], translated_images(model, shown, target)[0].pixels[:]]
        labels += [names[source], f"as {names[target]}"]
        if test.things is not None:
            assert shown.things is not None
            true = test[np.flatnonzero(test.labels == target)]
            assert true.things is not None
            places = {thing: place for place, thing in enumerate(true.things.tolist())}
            known = np.array([places[thing] for thing in shown.things.tolist()])
            rows.append(true.pixels[:][known])
            labels.append("true")
    save(mosaic(np.stack(rows), labels=labels), path)


if __name__ == "__main__":
    main()
