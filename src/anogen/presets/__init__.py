"""Settings that come with anogen: one folder per model, one YAML file per preset."""

from pathlib import Path
from typing import Any

import yaml

from anogen.errors import UsageError, unknown_name


def presets() -> dict[str, dict[str, Path]]:
    """Model → name → file of every preset."""
    by_model: dict[str, dict[str, Path]] = {}
    for path in sorted(Path(__file__).parent.glob("*/*.yaml")):
        by_model.setdefault(path.parent.name, {})[path.stem] = path
    return by_model


def preset_file(model: str, name: str) -> Path:
    """The file of a preset of a model.

    Raises:
        UsageError: there is none; the message names those that there are, or whose it is.
    """
    own = presets().get(model, {})
    if name in own:
        return own[name]
    others = [other for other, named in presets().items() if name in named]
    if others:
        raise UsageError(f"preset {name!r} is for the model {', '.join(others)}, not for {model}")
    raise unknown_name(f"preset of {model}", name, own)


def load_preset(model: str, name: str) -> dict[str, Any]:
    """The settings of a preset: `model` with its `class_path` and `init_args`, and those of `fit`.

    Examples:
        >>> load_preset("VAE", "paper")["epochs"]
        50
    """
    return yaml.safe_load(preset_file(model, name).read_text("utf-8"))
