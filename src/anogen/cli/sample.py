"""`anogen sample`: new images of a run, as a picture or as an array."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from anogen.cli.options import new_parser
from anogen.errors import UsageError, checked_seed, unknown_name
from anogen.progress import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anogen.data.images import Pixels
    from anogen.models.base import GenerativeModel
    from anogen.models.sampling import Sampler
    from anogen.run import Run

DESCRIPTION = """Draw from a trained run.

  anogen sample runs/vae                                 100 samples: runs/vae/figures/samples.png
  anogen sample runs/vae --sampler prior                 from the plain prior
  anogen sample runs/gan --label 7                       of one label, for a conditional model
  anogen sample runs/scenes --text "a red seven on the left" --count 16
  anogen sample runs/scenes --text "a {red,green,blue} {7,8}"    a row for each of the six
  anogen sample runs/scenes --texts captions.txt --out pictures/  a file for each
  anogen sample runs/scenes --picture between --text "a red 7" --text "a blue 2"
  anogen sample runs/stylegan --truncation 0.7           more typical, less varied
  anogen sample runs/vae --picture interpolation         between test images
  anogen sample runs/vae --picture traversal             one latent at a time
  anogen sample runs/vae --count 5000 --out new.npy      uint8 [5000, c, h, w]"""


def main(arguments: list[str]) -> int:
    """Sample; prints the path of what was written."""
    from anogen.report.pictures import PICTURES

    parser = new_parser("sample", DESCRIPTION, "RUN")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--picture", default="samples", help=f"{', '.join(PICTURES)}; with two "
                        "texts, between")  # fmt: skip
    parser.add_argument("--count", type=int, help="how many samples: with --out FILE.npy of all, "
                        "with texts of each")  # fmt: skip
    parser.add_argument("--out", help="a .png file, or with --count a .npy file; of texts also a "
                        "folder, for a file of each image; default: figures/")  # fmt: skip
    parser.add_argument("--text", action="append", default=[], help="what is to be seen; several "
                        "--text make several rows, and so do alternatives in braces, {a,b}. For a "
                        "run that was trained on captions")  # fmt: skip
    parser.add_argument("--texts", help="a file with a text in each line")
    parser.add_argument("--guidance", type=float, default=1.0, help="how closely to follow the "
                        "text: 1 as learnt, more at the cost of variety")  # fmt: skip
    parser.add_argument("--best_of", type=int, default=1, help="draw so many for each sample and "
                        "keep the one that fits the text best, as the model judges")  # fmt: skip
    parser.add_argument("--label", type=str, help="of a conditional model: draw this label only")
    parser.add_sampler()
    parser.add_argument("--truncation", type=float, help="of a StyleGAN: share of the distance "
                        "from the mean style that is left, 0 to 1")  # fmt: skip
    parser.add_argument("--checkpoint", help="best or last; default: best where there is one")
    parser.add_argument("--data_dir", help="where data sets lie")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_allow_code()
    options = parser.parse(arguments)
    texts = _texts(options)
    out = _check(options, bool(texts))
    model, run = _load(options)
    if texts:
        for path in _of_texts(model, run, options, texts, out):
            show(str(path))
    elif options["count"] is not None:
        show(str(_array(model, run, options, cast(Path, out))))
    else:
        show(str(_picture(model, run, options, out)))
    return 0


def _texts(options: dict[str, Any]) -> list[str]:
    """All texts that are asked for."""
    from anogen.data.text import texts_in
    from anogen.models.asking import spelt_out

    texts = [text for given in options["text"] for text in spelt_out(given)]
    return texts + ([] if options["texts"] is None else texts_in(Path(options["texts"])))


def _check(options: dict[str, Any], has_texts: bool) -> Path | None:
    """Where to write; refuses options that contradict one another."""
    from anogen.report.pictures import PICTURES

    kind, count = options["picture"], options["count"]
    out = Path(options["out"]) if options["out"] else None
    checked_seed(options["seed"])
    if count is not None and count < 1:
        raise UsageError(f"--count must be at least 1, found {count}")
    if has_texts:
        return _check_texts(options, out)
    if kind == "between" or options["guidance"] != 1 or options["best_of"] != 1:
        raise UsageError("between, --guidance and --best_of need a --text")
    if kind not in PICTURES:
        raise unknown_name("picture", kind, PICTURES)
    wanted = ".npy" if count is not None else ".png"
    if out is not None and out.suffix != wanted:
        raise UsageError(f"--out {out}: expected a name ending in {wanted}; .npy goes with --count")
    if count is not None and out is None:
        raise UsageError("--count needs --out FILE.npy, or a --text")
    drawn = kind == "samples"
    if not drawn and (options["label"] is not None or options["sampler"] != "auto"):
        raise UsageError("--label and --sampler are for samples, not for other pictures")
    if not drawn and count is not None:
        raise UsageError("--count is for samples, not for other pictures")
    return out


def _check_texts(options: dict[str, Any], out: Path | None) -> Path | None:
    if options["label"] is not None:
        raise UsageError("--label and --text: a run is conditional on labels or on texts")
    if options["picture"] not in ("samples", "between"):
        raise UsageError(f"--text makes samples, or the picture between, not {options['picture']}")
    if out is not None and out.suffix not in (".png", ".npy", ""):
        raise UsageError(f"--out {out}: expected a name ending in .png or .npy, or a folder")
    if options["picture"] == "between":
        if out is not None and out.suffix != ".png":
            raise UsageError(f"--out {out}: the picture between is a .png file")
        if options["guidance"] != 1 or options["best_of"] != 1 or options["sampler"] != "auto":
            raise UsageError("--guidance, --best_of and --sampler are not for the picture between")
    return out


def _load(options: dict[str, Any]) -> "tuple[GenerativeModel, Run]":
    from anogen.models.base import HasStyles, generative
    from anogen.run import Run

    run = Run.open(options["run"])
    trained = run.load_model(options["checkpoint"], allow_code=options["allow_code"])
    model = generative(trained, f"sample {run.path}")
    if options["label"] is not None and model.takes_text:
        raise UsageError(f"--label {options['label']}: {run.path} takes texts; give --text")
    if options["truncation"] is not None:
        if not isinstance(model, HasStyles):
            raise UsageError(f"--truncation is for style-based models, not {type(model).__name__}")
        if not 0 <= options["truncation"] <= 1:
            raise UsageError(f"--truncation must lie in [0, 1], found {options['truncation']}")
        model.truncation = options["truncation"]
    return model, run


def _label(model: "GenerativeModel", run: "Run", name: str | None) -> int | None:
    """The index of a label, which may be given by its name."""
    if name is None:
        return None
    if not model.classes:
        raise UsageError(
            f"--label {name}: {run.path} is not conditional; train with --model.classes N"
        )
    named = run.environment["data"].get("classes") or list(map(str, range(model.classes)))
    classes = named[: model.classes]
    if name not in classes:
        raise unknown_name("label", name, classes)
    return classes.index(name)


def _sampler(model: "GenerativeModel", run: "Run", options: dict[str, Any]) -> "Sampler":
    from anogen.models.sampling import make_sampler, own_sampler

    name = options["sampler"]
    kept = name in ("auto", "prior", own_sampler(model).name)
    images = None if kept else run.load_data(options["data_dir"]).train
    return make_sampler(name, model, images)


def _marks(options: dict[str, Any]) -> str:
    """What makes a draw another than the usual one, for its file's name."""
    parts = {"label": options["label"], "truncation": options["truncation"],
             "checkpoint": options["checkpoint"], "seed": options["seed"] or None,
             "guidance": None if options["guidance"] == 1 else options["guidance"],
             "best_of": None if options["best_of"] == 1 else options["best_of"]}  # fmt: skip
    text = "".join(f"_{name}_{value}" for name, value in parts.items() if value is not None)
    return re.sub(r"[^0-9A-Za-z_.-]", "_", text)


def _array(model: "GenerativeModel", run: "Run", options: dict[str, Any], out: Path) -> Path:
    import torch

    from anogen.evaluation.generation import sample_images

    label, count = _label(model, run, options["label"]), options["count"]
    sampler = _sampler(model, run, options)
    condition = None if label is None else torch.full((count,), label)
    images = sample_images(model, count, options["seed"], sampler, condition)
    return _save(images.pixels[:], out)


def _save(pixels: "Pixels", out: Path) -> Path:
    import numpy as np

    from anogen.durable import replace_durably

    buffer = io.BytesIO()
    np.save(buffer, pixels)
    replace_durably(out, buffer.getvalue())
    return out


def _of_texts(
    model: "GenerativeModel",
    run: "Run",
    options: dict[str, Any],
    texts: list[str],
    out: Path | None,
) -> "Iterator[Path]":
    """Write what texts give: a picture of all, an array, or a file of each."""
    from anogen.data.batches import to_bytes
    from anogen.models.asking import Asking, sample_texts
    from anogen.report.asked import asked_picture, between_picture
    from anogen.report.figures import save

    count, seed, marks = options["count"], options["seed"], _marks(options)
    if options["picture"] == "between":
        drawn = between_picture(model.eval(), texts, count or 9, seed=seed)
        target = out or run.figures / f"between{marks}.png"
        save(drawn.figure, target)
        yield target
        return
    sampler = _sampler(model, run, options)
    how = Asking(seed, sampler, options["guidance"], options["best_of"])
    alone = len(texts) == 1 and count == 1 and out is not None and out.suffix == ".png"
    if out is not None and (out.suffix != ".png" or alone):
        each = [text for text in texts for _ in range(count or 1)]
        pixels = to_bytes(sample_texts(model.eval(), each, how))
        yield from _files(pixels, out)
        return
    drawn = asked_picture(model.eval(), texts, count or 8, how)
    target = out or run.figures / f"asked{marks}.png"
    save(drawn.figure, target)
    yield target


def _files(pixels: "Pixels", out: Path) -> "Iterator[Path]":
    """Images in an array, as one picture, or numbered in a folder."""
    from PIL import Image

    from anogen.durable import make_folder, replace_durably

    if out.suffix == ".npy":
        yield _save(pixels, out)
        return
    if not out.suffix:
        make_folder(out)
    for number, image in enumerate(pixels, 1):
        picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        target = out if out.suffix else out / f"{number:04d}.png"
        replace_durably(target, buffer.getvalue())
        yield target


def _picture(
    model: "GenerativeModel", run: "Run", options: dict[str, Any], out: Path | None
) -> Path:
    from anogen.report.figures import save
    from anogen.report.pictures import picture, samples_picture

    if options["picture"] == "samples":
        label, sampler = _label(model, run, options["label"]), _sampler(model, run, options)
        drawn = samples_picture(model, options["seed"], label, sampler)
    else:
        test = run.load_data(options["data_dir"]).test
        drawn = picture(options["picture"], model, test, options["seed"])
    target = out or run.figures / f"{drawn.name}{_marks(options)}.png"
    save(drawn.figure, target)
    return target
