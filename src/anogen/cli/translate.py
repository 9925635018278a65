"""`anogen translate`: picture files as another domain would have them."""

from pathlib import Path
from typing import Any

from anogen.cli.options import new_parser, print_job

DESCRIPTION = """Translate pictures to another domain with a trained run; their names and formats
stay.

  anogen translate runs/digits scans/ --to mnist --out translated
  anogen translate runs/emoji noto/ --to twemoji --out translated --targets twemoji/   PSNR, SSIM
  anogen translate runs/emoji noto/ --to twemoji --out translated --samples 4          other ways

Called again, it goes on where it stopped. A run that translates comes from
anogen train --model Translator --preset recommended --data usps,mnist, or from a folder whose
sub-folders are the domains."""


def main(arguments: list[str]) -> int:
    """Translate; prints a summary, or with --json one object."""
    parser = new_parser("translate", DESCRIPTION, "RUN FILE...")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("files", nargs="+", help="pictures, or folders of pictures")
    parser.add_argument("--to", required=True, help="the domain that they are to become")
    parser.add_argument("--out", required=True, help="a folder for the translated pictures")
    parser.add_argument("--source", help="the domain that they are from; default: the one in which "
                        "a picture is reconstructed best. It decides nothing but what is shown and "
                        "measured of the way back")  # fmt: skip
    parser.add_argument(
        "--samples",
        type=int,
        default=0,
        help="further pictures of each, with codes drawn from the posterior",
    )
    parser.add_argument("--seed", type=int, default=0, help="of these draws")
    parser.add_argument("--targets", help="a folder of the true pictures of that domain, of the "
                        "same names: to measure by")  # fmt: skip
    parser.add_argument("--checkpoint", help="best or last; default: best where there is one")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--page", type=bool, default=True, help="write translated.html into --out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_allow_code()
    options = parser.parse(arguments)
    result, page = _translate(options)
    return print_job(result, page, options["json"])


def _translate(options: dict[str, Any]) -> tuple[dict[str, Any], Path | None]:
    from anogen.checkpoint import hash_of_tensors
    from anogen.device import choose_device
    from anogen.errors import checked_seed
    from anogen.progress import say
    from anogen.run import Run
    from anogen.translation.folder import Job, summary
    from anogen.translation.translate import check_samples, domains_of

    run = Run.open(options["run"])
    domains = domains_of(run, options["checkpoint"], options["allow_code"])
    to, source = domains.number(options["to"]), options["source"]
    check_samples(domains.model, options["samples"])
    domains.model.to(choose_device(options["device"]))
    job = Job.find(
        options["files"], options["out"], domains=domains, pictures=run.pictures, to=to,
        source=None if source is None else domains.number(source), samples=options["samples"],
        seed=checked_seed(options["seed"]),
        targets=None if options["targets"] is None else Path(options["targets"]),
    )  # fmt: skip
    how = [job.pictures.settings, to, job.source, job.samples, job.seed]
    rows = list(job.go(f"{how} {hash_of_tensors(domains.model.state_dict())}"))
    result = {"to": domains.names[to], **summary(rows)}
    if options["targets"] and "psnr_db" not in result:
        say(f"warning: {options['targets']}: no picture there has the name of one that was given")
    if not options["page"]:
        return result, None
    from anogen.translation.page import write_page

    return result, write_page(job, rows, result, run.name)
