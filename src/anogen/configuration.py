"""YAML configurations, read without trust in who wrote them."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from anogen.errors import UsageError

MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_LENGTH = 100_000, 50, 5000, 5000
"""Of a file, of nesting, of entries in all, and of one of them: no settings need more."""


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
    except UsageError:
        raise
    except Exception as error:  # a damaged value makes PyYAML raise many kinds
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
    for entries, event in enumerate(yaml.parse(text, yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UsageError(f"{path}: nested more than {MAX_DEPTH} deep; settings are not")
        length = len(event.value) if isinstance(event, yaml.ScalarEvent) else 0
        if entries > MAX_ENTRIES or length > MAX_LENGTH:
            raise UsageError(f"{path}: not a valid configuration, too many or too long entries")
        if isinstance(event, yaml.AliasEvent):
            raise UsageError(
                f"{path}: has the YAML alias *{event.anchor}; write its value out instead"
            )


def plain(value: Any) -> Any:
    """The value as JSON and YAML know it: no tuples, no NumPy scalars."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    return value
