"""YAML configurations, read without trust in who wrote them."""

from pathlib import Path
from typing import Any

import yaml

from anogen.errors import UsageError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50


def load_yaml(path: Path) -> dict[str, Any]:
    """The settings in a file; empty where it is empty.

    Refused before anything is built of it: what is no text or too long, nested more than 50 deep,
    or uses aliases, a few lines of which can stand for gigabytes. Tags such as `!!python/object`
    are unknown here.

    Raises:
        UsageError: the file cannot be read, or is no table of settings.
    """
    try:
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file")
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: more than {MAX_BYTES:,} bytes; a configuration is shorter")
        text = path.read_text("utf-8")
        _refuse_bombs(text, path)
        loaded = yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, ValueError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"{path}: not a valid configuration, not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise UsageError(f"{path}: not a valid configuration, which has `name: value` in each line")
    return loaded


def _refuse_bombs(text: str, path: Path) -> None:
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UsageError(f"{path}: nested more than {MAX_DEPTH} deep; settings are not")
        if isinstance(event, yaml.AliasEvent):
            raise UsageError(
                f"{path}: has the YAML alias *{event.anchor}; write its value out instead"
            )
