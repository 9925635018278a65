"""`anogen serve`: trained runs behind HTTP."""

import os
from dataclasses import fields
from typing import Any

from anogen.cli.options import new_parser
from anogen.errors import MachineError, UsageError
from anogen.progress import say

DESCRIPTION = """Serve trained runs over HTTP: scores, new pictures, a page for people, a watch.

  anogen serve runs/parts                                http://127.0.0.1:8000, the page and the API
  anogen serve runs/parts --host 0.0.0.0 --key_file keys.txt --workers 2
  curl -F file=@new.png 'http://127.0.0.1:8000/v1/score?explain=1'

A score is that of anogen score, bit for bit, whatever else is scored at the same time. When a run
is trained or calibrated again, the new version is served, without losing a request. What was scored
is kept in RUN/service.sqlite, without the pictures, and watched: see anogen watch. SIGTERM or
Ctrl+C finishes what has been accepted."""

MOST_FILES = 1 << 16
MOST_WORKERS = 4
"""If nobody says how many: threads of one process wait for one another and for its clients."""


def main(arguments: list[str]) -> int:
    """Serve until a signal; prints the address when requests are taken."""
    from anogen.serving.settings import Settings

    parser = new_parser("serve", DESCRIPTION, "RUN...")
    parser.add_argument("runs", nargs="+", help="folders of runs; each is served under its name")
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: of all "
                        "networks of this machine, which needs --key_file")  # fmt: skip
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    parser.add_argument("--workers", type=int, help="processes; they share the memory of the "
                        "weights, and the cores; default: one a core, four at most")  # fmt: skip
    parser.add_argument("--key_file", help="a file with a key in each line; requests must name one")
    parser.add_argument("--open", type=bool, default=False, help="listen on other addresses than "
                        "this machine's own without keys")  # fmt: skip
    parser.add_argument("--store", help="where scores and verdicts are kept: a path, a URL of "
                        "SQLAlchemy, or none; default: service.sqlite in the first run's "
                        "folder")  # fmt: skip
    parser.add_argument("--alert", help="where alarms of the watch go: a web address, or a file")
    parser.add_argument("--score", help="a score's name; default: as anogen score")
    parser.add_argument("--data_dir", help="where data sets lie, for the calibration and for the "
                        "nearest training pictures")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_class_arguments(Settings)
    options = parser.parse(arguments)
    return _serve(options, {each.name: options[each.name] for each in fields(Settings)})


def _serve(options: dict[str, Any], limits: dict[str, Any]) -> int:
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # or no process could be forked
    try:
        from anogen.serving.gate import LOOPBACK, Keys
        from anogen.serving.supervisor import Supervisor
        from anogen.serving.worker import Plan
    except ImportError as error:
        raise MachineError(f"serving needs {error.name}: pip install 'anogen[serve]'") from error
    from anogen.device import choose_device, usable_cores
    from anogen.serving.settings import Settings

    workers = options["workers"]
    if workers is None:
        workers = min(MOST_WORKERS, usable_cores())
    if workers < 1:
        raise UsageError(f"--workers must be at least 1, found {options['workers']}")
    if not 0 <= options["port"] < 1 << 16:
        raise UsageError(f"--port must lie between 0 and 65535, found {options['port']}")
    keys = Keys() if options["key_file"] is None else Keys.read(options["key_file"])
    if options["host"] not in LOOPBACK and not keys.hashes and not options["open"]:
        raise UsageError(
            f"--host {options['host']}: others could reach the service without a key; give "
            "--key_file, or --open to let them"
        )
    _allow_many_files()
    plan = Plan(
        runs=tuple(options["runs"]), settings=Settings.of(limits), host=options["host"],
        port=options["port"], workers=workers, keys=keys,
        store=_store_of(options), alert=options["alert"], score=options["score"],
        data_dir=options["data_dir"], device=str(choose_device(options["device"])),
    )  # fmt: skip
    return Supervisor(plan).run()


def _store_of(options: dict[str, Any]) -> str | None:
    """Where to keep scores; by default in the run's folder, if it can be written."""
    from anogen.run import Run

    if options["store"] is not None:
        return None if options["store"] == "none" else options["store"]
    run = Run.open(options["runs"][0])
    if run.is_writable:
        return str(run.store)
    say(f"{run.shown} cannot be written: scores are not kept, nor watched; give --store")
    return None


def _allow_many_files() -> None:
    """As many open connections as the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
