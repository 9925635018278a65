"""`anogen COMMAND`: finds the command, turns errors into one line and an exit code."""

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from anogen import __version__
from anogen.errors import AnogenError, MachineError, first_line, unknown_name
from anogen.printable import printable
from anogen.progress import say, show

Command = Callable[[list[str]], int]

COMMANDS = {
    "data": "list data sets, where they lie, fetch and verify them",
    "train": "train a model into a run folder",
    "evaluate": "measure a run on test images, draw its pictures, write its page",
    "compare": "several runs in one table and one page",
    "detect": "calibrate a run as a detector and judge out-of-distribution sets",
    "score": "files of images or tables: one row each with score, p-value and label",
    "serve": "runs behind HTTP: an API, a page, a watch over the stream",
    "watch": "whether a stream of scores is still what the detector was made for",
    "refresh": "a detector learns from examples that were approved",
    "restore": "noise, holes and blur taken out of pictures",
    "translate": "pictures of one domain as another would have them",
    "search": "pictures that fit a text, texts that fit a picture",
    "export": "a run as a detector in one ONNX file",
    "report": "a run's page, of all that was measured of it",
    "reproduce": "the whole paper: train, measure, detect, one page",
    "sample": "new images, interpolations, traversals of a run",
    "doctor": "what is installed, what is found, what is wrong",
}
"""Every command, each in the module `anogen.cli.<name>` with a function `main(arguments)`."""


def run() -> None:
    """The entry point of the shell command; what a stream's encoding lacks becomes an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run a command; returns the exit code.

    0 done, 2 usage, 3 data, 4 training, 5 environment, 130/143 stopped by a signal, 1 a fault of
    anogen's own.
    """
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    name = printable(arguments[0]) if arguments else ""
    try:
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk is to be noticed here, not at the interpreter's end
        return code
    except SystemExit:  # after --help, which argparse prints
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            _finish_stdout()
            say(f"anogen {name}: {_explained(error)[0]}")
            return 5
        raise
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        _finish_stdout()
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        message, code = _explained(error)
        _finish_stdout()
        say(f"anogen {name}: {message}")
        return code


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        show(_help())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        show(f"anogen {__version__}")
        return 0
    return _find(arguments[0])(arguments[1:])


def _explained(error: BaseException) -> tuple[str, int]:
    """One line about an error, and the exit code."""
    if isinstance(error, AnogenError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, MemoryError):
        return "out of memory; try fewer or smaller images", 4
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", 5
    return (
        f"unexpected {type(error).__name__}: {first_line(error)}; this is a fault of anogen or of "
        "one of its files (--debug shows where)",
        1,
    )


def _finish_stdout() -> None:
    """Write what standard output holds back; where that fails, let it point nowhere.

    Else the interpreter would try again at its end, and complain.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def _find(name: str) -> Command:
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    if name != "data":
        _refuse_a_folder_that_is_gone()
    return import_module(f"anogen.cli.{name}").main


def _refuse_a_folder_that_is_gone() -> None:
    """PyTorch's libraries end the process, where the working folder was removed."""
    try:
        os.getcwd()  # noqa: PTH109  (Path.cwd is the same)
    except FileNotFoundError as error:
        raise MachineError("the working folder was removed; change to another") from error


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
