"""`anogen sample`: new images of a run, as a picture or as an array."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from anogen.cli.options import new_parser
from anogen.errors import UsageError, checked_seed, unknown_name
from anogen.progress import show

if TYPE_CHECKING:
    from anogen.models.base import GenerativeModel
    from anogen.models.sampling import Sampler
    from anogen.run import Run

DESCRIPTION = """Draw from a trained run.

  anogen sample runs/vae                                 100 samples: runs/vae/figures/samples.png
  anogen sample runs/vae --sampler prior                 from the plain prior
  anogen sample runs/gan --label 7                       of one label, for a conditional model
  anogen sample runs/stylegan --truncation 0.7           more typical, less varied
  anogen sample runs/vae --picture interpolation         between test images
  anogen sample runs/vae --picture traversal             one latent at a time
  anogen sample runs/vae --count 5000 --out new.npy      uint8 [5000, c, h, w]"""


def main(arguments: list[str]) -> int:
    """Sample; prints the path of what was written."""
    from anogen.report.pictures import PICTURES

    parser = new_parser("sample", DESCRIPTION, "RUN")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--picture", default="samples", help=", ".join(PICTURES))
    parser.add_argument("--count", type=int, help="with --out FILE.npy: how many samples")
    parser.add_argument("--out", help="a .png file, or with --count a .npy file; default: figures/")
    parser.add_argument("--label", type=str, help="of a conditional model: draw this label only")
    parser.add_sampler()
    parser.add_argument("--truncation", type=float, help="of a StyleGAN: share of the distance "
                        "from the mean style that is left, 0 to 1")  # fmt: skip
    parser.add_argument("--checkpoint", help="best or last; default: best where there is one")
    parser.add_argument("--data_dir", help="where data sets lie")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_allow_code()
    options = parser.parse(arguments)
    out = _check(options)
    model, run = _load(options)
    if options["count"] is not None:
        show(str(_array(model, run, options, cast(Path, out))))
    else:
        show(str(_picture(model, run, options, out)))
    return 0


def _check(options: dict[str, Any]) -> Path | None:
    """Where to write; refuses options that contradict one another."""
    from anogen.report.pictures import PICTURES

    if options["picture"] not in PICTURES:
        raise unknown_name("picture", options["picture"], PICTURES)
    out = Path(options["out"]) if options["out"] else None
    wanted = ".npy" if options["count"] is not None else ".png"
    if out is not None and out.suffix != wanted:
        raise UsageError(f"--out {out}: expected a name ending in {wanted}; .npy goes with --count")
    if options["count"] is not None and (out is None or options["count"] < 1):
        raise UsageError("--count needs a positive number and --out FILE.npy")
    checked_seed(options["seed"])
    drawn = options["picture"] == "samples"
    if not drawn and (options["label"] is not None or options["sampler"] != "auto"):
        raise UsageError("--label and --sampler are for samples, not for other pictures")
    if not drawn and options["count"] is not None:
        raise UsageError("--count is for samples, not for other pictures")
    return out


def _load(options: dict[str, Any]) -> "tuple[GenerativeModel, Run]":
    from anogen.models.base import HasStyles, generative
    from anogen.run import Run

    run = Run.open(options["run"])
    trained = run.load_model(options["checkpoint"], allow_code=options["allow_code"])
    model = generative(trained, f"sample {run.path}")
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
             "checkpoint": options["checkpoint"], "seed": options["seed"] or None}  # fmt: skip
    text = "".join(f"_{name}_{value}" for name, value in parts.items() if value is not None)
    return re.sub(r"[^0-9A-Za-z_.-]", "_", text)


def _array(model: "GenerativeModel", run: "Run", options: dict[str, Any], out: Path) -> Path:
    import numpy as np

    from anogen.durable import replace_durably
    from anogen.evaluation.generation import sample_images

    label = _label(model, run, options["label"])
    sampler = _sampler(model, run, options)
    images = sample_images(model, options["count"], options["seed"], sampler, label)
    buffer = io.BytesIO()
    np.save(buffer, images.pixels[:])
    replace_durably(out, buffer.getvalue())
    return out


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
