"""`anogen sample`: new images of a run, as a picture or as an array."""

import io
from pathlib import Path

from anogen.cli.options import new_parser
from anogen.errors import UsageError, unknown_name

DESCRIPTION = """Draw from a trained run.

  anogen sample runs/vae                                 100 samples: runs/vae/figures/samples.png
  anogen sample runs/vae --picture interpolation         between test images
  anogen sample runs/vae --picture traversal             one latent at a time
  anogen sample runs/vae --count 5000 --out new.npy      uint8 [5000, c, h, w]"""


def main(arguments: list[str]) -> int:
    """Sample; prints the path of what was written."""
    parser = new_parser("sample", DESCRIPTION)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--picture", default="samples", help="samples, latent_grid, interpolation, "
                        "traversal, reconstructions, latent_map or kl_per_latent")  # fmt: skip
    parser.add_argument("--count", type=int, help="with --out FILE.npy: how many samples")
    parser.add_argument("--out", help="a .png file, or with --count a .npy file; default: figures/")
    parser.add_argument("--checkpoint", help="best or last; default: best where there is one")
    parser.add_argument("--data_dir", help="where data sets lie")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    options = parser.parse(arguments)
    wanted = ".npy" if options["count"] is not None else ".png"
    out = Path(options["out"]) if options["out"] else None
    if out is not None and out.suffix != wanted:
        raise UsageError(f"--out {out}: expected a name ending in {wanted}; .npy goes with --count")
    if options["count"] is not None:
        if out is None or options["count"] < 1:
            raise UsageError("--count needs a positive number and --out FILE.npy")
        print(_array(options["run"], options["checkpoint"], options["count"], options["seed"], out))
    else:
        print(_picture(options["run"], options["checkpoint"], options["picture"],
                       options["data_dir"], options["seed"], out))  # fmt: skip
    return 0


def _array(run: str, checkpoint: str | None, count: int, seed: int, out: Path) -> Path:
    import numpy as np
    import torch

    from anogen.checkpoint import replace_durably
    from anogen.data.batches import evaluation_batch
    from anogen.models.sampling import draw
    from anogen.progress import Progress
    from anogen.report.pictures import to_bytes
    from anogen.run import Run

    model = Run.open(run).load_model(checkpoint)
    generator = torch.Generator().manual_seed(seed)
    parts: list[np.ndarray] = []
    with torch.inference_mode(), Progress("sampling", count) as bar:
        for images in draw(model, count, generator, evaluation_batch(model.shape)):
            parts.append(to_bytes(images))
            bar.advance(len(images))
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(parts))
    replace_durably(out, buffer.getvalue())
    return out


def _picture(
    run: str, checkpoint: str | None, kind: str, data_dir: str | None, seed: int, out: Path | None
) -> Path:
    from anogen.report.figures import save
    from anogen.report.pictures import PICTURES, picture, samples_picture
    from anogen.run import Run

    if kind not in PICTURES:
        raise unknown_name("picture", kind, PICTURES)
    opened = Run.open(run)
    model = opened.load_model(checkpoint)
    if kind == "samples":
        made = samples_picture(model, seed)
    else:
        made = picture(kind, model, opened.load_data(data_dir).test, seed)
    target = out or opened.figures / f"{made.name}.png"
    save(made.figure, target)
    return target
