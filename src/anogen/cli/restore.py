"""`anogen restore`: noise, holes and blur taken out of picture files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anogen.cli.options import new_parser, print_job
from anogen.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from anogen.restoration.restore import Restored

DESCRIPTION = """Restore damaged pictures with a trained run; their names and formats stay.

  anogen restore runs/denoiser photos/ --out restored
  anogen restore runs/denoiser noisy/ --out restored --originals clean/     PSNR and SSIM
  anogen restore runs/vae digits/ --out restored --mask holes.png           white is missing
  anogen restore runs/gan digits/ --out restored --damage blur=2            sharpen
  anogen restore runs/vae digits/ --out restored --samples 8                what could have been

Called again, it goes on where it stopped. A run that restores comes from
anogen train --model Restorer --data clean/photos --corruption gaussian_noise=0..0.2"""


def main(arguments: list[str]) -> int:
    """Restore; prints a summary, or with --json one object."""
    from anogen.restoration.restore import Restoring

    parser = new_parser("restore", DESCRIPTION, "RUN FILE...")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("files", nargs="+", help="pictures, or folders of pictures")
    parser.add_argument("--out", required=True, help="a folder for the restored pictures")
    parser.add_argument("--mask", help="a picture of what is missing, white where it is, or a "
                        "folder with one of the same name for each picture")  # fmt: skip
    parser.add_argument("--originals", help="a folder of the undamaged pictures, of the same "
                        "names, or one such picture: to measure by")  # fmt: skip
    parser.add_class_arguments(Restoring)
    parser.add_argument("--checkpoint", help="best or last; default: best where there is one")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--page", type=bool, default=True, help="write restored.html into --out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_allow_code()
    options = parser.parse(arguments)
    result, page = _restore(options)
    return print_job(result, page, options["json"])


def _restore(options: dict[str, Any]) -> tuple[dict[str, Any], Path | None]:
    from dataclasses import fields

    from anogen.checkpoint import hash_of_tensors
    from anogen.device import choose_device
    from anogen.progress import say
    from anogen.restoration.folder import Job, summary
    from anogen.restoration.restore import Restoring, restore
    from anogen.run import Run

    run = Run.open(options["run"])
    model = run.load_model(options["checkpoint"], allow_code=options["allow_code"])
    how = Restoring(**{field.name: options[field.name] for field in fields(Restoring)})
    way = how.way(model, options["mask"] is not None)
    if run.columns is not None:
        raise UsageError(f"{run.path}: a run of a table, which restores no pictures")
    model = model.to(choose_device(options["device"]))
    intervals = None
    if how.interval is not None:
        from anogen.restoration.intervals import Intervals

        intervals = Intervals.of_run(run, model, how.interval)

    def one(pixels: "NDArray[Any]", mask: "NDArray[np.bool_] | None") -> "Restored":
        return restore(model, pixels, mask=mask, settings=how, intervals=intervals)

    job = Job.find(options["files"], options["out"], one, options["mask"], options["originals"])
    settings = f"{how} {hash_of_tensors(model.state_dict())}"
    rows = list(job.go(settings))
    result = {"method": way, **summary(rows)}
    if options["originals"] and "psnr_db" not in result:
        say(f"warning: {options['originals']}: no picture there has the name of one that was given")
    if not options["page"]:
        return result, None
    from anogen.restoration.page import write_page

    return result, write_page(job, rows, result, f"{run.name}, {way}")
