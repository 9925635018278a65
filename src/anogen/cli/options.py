"""What the commands share: a parser that answers a mistake with one clear line."""

import difflib
import json
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse

from anogen.errors import AnogenError, DataError, UsageError, finite_numbers
from anogen.progress import show

MAX_BRACKETS = 200
"""More of them in one value are no setting, and reading them would take minutes."""


class _HelpFormatter(RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of a description."""


class Parser(jsonargparse.ArgumentParser):
    """jsonargparse's parser, with mistakes as `UsageError`, "did you mean" and bare flags."""

    def parse(self, arguments: list[str], modules: Sequence[str] = ()) -> dict[str, Any]:
        """The settings; `--flag` alone is `--flag=true`, and dashes in names are underscores.

        Args:
            arguments: of the command line.
            modules: packages other than anogen from which a value may name a class.
        """
        arguments = [underscored(argument) for argument in arguments]
        for argument in arguments:
            if argument.count("[") + argument.count("{") > MAX_BRACKETS:
                raise UsageError(f"{argument[:40]}…: a value with too many brackets")
            name, mark, value = argument.partition("=")
            if name.startswith("--") and mark and not value:
                raise UsageError(f"{name}: its value is empty; give one, or leave it out")
        complete: list[str] = []
        for index, argument in enumerate(arguments):
            following = arguments[index + 1] if index + 1 < len(arguments) else "--"
            bare = argument in self._flags() and following.lower() not in ("true", "false")
            complete.append(f"{argument}=true" if bare else argument)
        deny_imports(except_from=modules)
        settings = self._parsed(complete)
        if settings.get("allow_code"):
            search_working_folder()
        from anogen.allocator import keep_freed_memory

        keep_freed_memory()
        return settings

    def add_allow_code(self) -> None:
        """Add the option `--allow_code`, for models that are not anogen's own."""
        self.add_argument(
            "--allow_code", type=bool, default=False,
            help="import a model that is not anogen's own, which runs the code of its module; only "
            "for a run or a configuration that you trust",
        )  # fmt: skip

    def add_sampler(self) -> None:
        """Add the option `--sampler`, for commands that draw new images."""
        from anogen.models.sampling import SamplerName

        self.add_argument(
            "--sampler", type=SamplerName, default="auto",
            help="where latents come from: the prior, or a Gaussian mixture fitted to the "
            "training images; default: the mixture kept with the run, or the prior",
        )  # fmt: skip

    def _parsed(self, arguments: list[str]) -> dict[str, Any]:
        try:
            settings = self.parse_args(arguments).as_dict()
        except (AnogenError, OSError):
            raise
        except Exception as error:  # an odd value in YAML, such as !!int '', makes PyYAML raise any
            raise UsageError(f"an option has a value that cannot be read ({error!r})") from error
        for name, value in settings.items():
            entries = value if isinstance(value, list) else [value]
            if any(entry == "" for entry in entries):
                raise UsageError(f"{name} is empty; give a value, or leave the option out")
        return settings

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        text = " ".join(line.strip() for line in message.splitlines() if line.strip())
        denied = re.search(r"Importing '([^']*)' is not allowed", text)
        if denied:
            from anogen.models import find_model

            find_model(denied[1])  # raises, and says how to allow it
        unknown = re.search(r"nrecognized arguments?:\s*(\S+)", text)
        refused = re.search(r"Parser key \"(.+)\": Option '(\S+)' is not accepted", text)
        if unknown:
            raise UsageError(_unknown_option(unknown[1].split("=")[0], self._known()))
        if refused:
            raise UsageError(_unknown_option(f"--{refused[1]}.{refused[2]}", self._known()))
        raise UsageError(_readable(text)) from ex

    def _print_message(self, message: str, file: Any = None) -> None:
        """Help, for which argparse's own does not care whether anybody gets it."""
        if file is None or file is sys.stdout:
            show(message.replace(" \b[", "[").rstrip("\n"))  # its way to leave a space out
        else:
            super()._print_message(message, file)

    def format_help(self, *given: Any, **named: Any) -> str:
        """The description, which begins with an example, then the usage and every option."""
        description, self.description = self.description, None
        try:
            return f"{description}\n\n{super().format_help(*given, **named)}"
        finally:
            self.description = description

    def _flags(self) -> set[str]:
        return {
            option
            for action in self._actions
            if getattr(action, "_typehint", None) is bool
            for option in action.option_strings
        }

    def _known(self) -> list[str]:
        """Options, with those of the models, which are known by the model's name only."""
        from anogen.models import MODELS

        own = [option for action in self._actions for option in action.option_strings]
        accepted = {
            f"--model.{name}" for model in MODELS.values() for name in _parameters(model)
        }  # fmt: skip
        return own + sorted(accepted)


def new_parser(command: str, description: str, arguments: str = "") -> Parser:
    """A parser for one command, whose help begins with the first example of its description.

    Args:
        command: its name.
        description: a sentence, then examples, each in a line of its own, indented.
        arguments: what stands before the options, as in `RUN FILE...`.
    """
    return Parser(
        prog=f"anogen {command}", description=with_example_first(description),
        usage=f"anogen {command} {arguments} [options]".replace("  ", " "),
        formatter_class=_HelpFormatter, allow_abbrev=False,
    )  # fmt: skip


def with_example_first(description: str) -> str:
    r"""The description after its first example.

    >>> print(with_example_first("Do it.\n\n  anogen it now     at once"))
    Example: anogen it now
    <BLANKLINE>
    Do it.
    <BLANKLINE>
      anogen it now     at once
    """
    example = re.search(r"^  (anogen \S.*?)(?:   .*)?$", description, re.MULTILINE)
    return f"Example: {example[1]}\n\n{description}" if example else description


def search_working_folder() -> None:
    """Find modules in the working folder too, which a shell command does not by itself.

    For commands with `--allow_code` only: a file there could take the place of any module.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)


def allows_code(arguments: list[str]) -> bool:
    """Whether the command line, and no file that it names, has `--allow_code`."""
    allowed = False
    for argument, following in pairwise([*map(underscored, arguments), ""]):
        name, mark, value = argument.partition("=")
        if name == "--allow_code":
            allowed = (value.lower() == "true") if mark else following.lower() != "false"
    return allowed


def deny_imports(except_from: Sequence[str]) -> None:
    """Let jsonargparse import nothing that a value names but from anogen and these packages.

    This is a setting of the process, which is a command's own.
    """
    jsonargparse.set_parsing_settings(
        import_path_denylist=["*"], import_path_allowlist=["anogen", *except_from]
    )


def print_job(result: Mapping[str, Any], page: Path | None, as_json: bool) -> int:
    """Print the summary of a folder of results; gives the exit code, 3 where there is no result."""
    lines = table([[name, f"{value:.4g}" if isinstance(value, float) else str(value)]
                   for name, value in result.items()])  # fmt: skip
    print_result(result, as_json, lines + (f"\n\npage: {page}" if page else ""))
    return DataError.exit_code if result["errors"] == result["pictures"] else 0


def underscored(argument: str) -> str:
    """`--data-dir=x-y` as `--data_dir=x-y`; anything but an option as it is."""
    if not argument.startswith("--"):
        return argument
    name, mark, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + mark + value


def print_result(result: Mapping[str, Any], as_json: bool, text: str) -> None:
    """One JSON object, or text for people, on standard output."""
    finite_numbers(result, "the results")
    show(json.dumps(dict(result), allow_nan=False) if as_json else text)


def table(rows: list[list[str]]) -> str:
    """Rows of text in columns as wide as they need."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
             for row in rows)  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


TYPES = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "text",
    "dict": "a table of names and values", "tuple": "several values, such as [0.5, 0.99]",
    "list": "several values, such as [a, b]", "Sequence": "several values, such as [a, b]",
    "NoneType": "nothing",
}  # fmt: skip
"""What a type is called before people who write no Python."""


def _readable(text: str) -> str:
    """jsonargparse's complaint about a value in plain words; a model's options are complained of
    by a parser of their own, within the complaint of the first.

    >>> _readable('Parser key "model": option loss: expected a or b, found c')
    'option model.loss: expected a or b, found c'
    """
    nested = re.match(r'Parser key "([^"]+)": option (\S+: expected .*)', text)
    if nested:
        return f"option {nested[1]}.{nested[2]}"
    complaint = re.match(
        r'Parser key "([^"]+)": '
        r"(?:Expected a (.+)\. Got value: |Does not validate .* Subtypes: (.+?) Errors: .* Given "
        r"value: )(.*)",
        text,
    )
    if complaint is None:
        return text.replace("Parser key", "option", 1)
    key, one, several, value = complaint.groups()
    nested = re.fullmatch(r"NestedArg\(key='(.*)', val='?(.*?)'?\)", value)
    if nested:
        key, value = f"{key}.{nested[1]}", nested[2]
    return f"option {key}: expected {_kinds(one or several)}, found {value}"


def _kinds(types: str) -> str:
    """The choices or kinds of value in the notation of Python's types."""
    choices = re.search(r"Literal\[(.*?)\]", types)
    names = re.findall(r"'([^']*)'", choices[1]) if choices else []
    if not choices:
        whole = re.sub(r"(dict|tuple|list)\[[^\]]*\]", r"\1", types)  # what is in them is a detail
        names = [TYPES[kind] for kind in re.findall(r"\w+", whole) if kind in TYPES]
    if not names:
        return types
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _parameters(model: type) -> list[str]:
    import inspect

    return list(inspect.signature(model.__init__).parameters)[2:]


def _unknown_option(name: str, options: list[str]) -> str:
    close = difflib.get_close_matches(name, [entry for entry in options if entry != name], n=1)
    if name in options:  # another model's
        return f"unknown option {name} of this model; anogen train --model.help MODEL lists its own"
    hint = f"; did you mean {close[0]}?" if close else "; --help lists them"
    return f"unknown option {name}{hint}"
