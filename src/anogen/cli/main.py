"""`anogen COMMAND`: finds the command, turns errors into one line and an exit code."""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from anogen import __version__
from anogen.errors import AnogenError, unknown_name

Command = Callable[[list[str]], int]

COMMANDS = {
    "data": "list data sets, where they lie, fetch and verify them",
    "train": "train a model into a run folder",
    "evaluate": "measure a run on test images, draw its pictures, write its page",
    "compare": "several runs in one table and one page",
    "detect": "calibrate a run as a detector and judge out-of-distribution sets",
    "score": "files of images: one row each with score, p-value and label",
    "export": "a run as a detector in one ONNX file",
    "report": "a run's page, of all that was measured of it",
    "reproduce": "the whole paper: train, measure, detect, one page",
    "sample": "new images, interpolations, traversals of a run",
    "doctor": "what is installed, what is found, what is wrong",
}
"""Every command, each in the module `anogen.cli.<name>` with a function `main(arguments)`."""


def run() -> None:
    """The entry point of the shell command; models are found in the working directory, too."""
    sys.path.append(str(Path.cwd()))
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run a command; returns the exit code.

    0 done, 2 usage, 3 data, 4 training, 5 environment, 130/143 stopped by a signal.
    """
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"anogen {__version__}")
        return 0
    try:
        return _find(arguments[0])(arguments[1:])
    except AnogenError as error:
        if debug:
            raise
        print(f"anogen {arguments[0]}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if debug:
            raise
        print(f"anogen {arguments[0]}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _find(name: str) -> Command:
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    return import_module(f"anogen.cli.{name}").main


def _help() -> str:
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: anogen COMMAND [options]",
            "",
            "Train, compare and deploy generative models, and detect what they have never seen.",
            "",
            *lines,
            "",
            "anogen COMMAND --help    every option of a command",
            "anogen --version         the version",
            "--debug                  with any command: the whole traceback of an error",
        ]
    )
