"""Where anogen keeps what it can fetch or make again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The user's cache folder: `$XDG_CACHE_HOME/anogen`, by default `~/.cache/anogen`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anogen"
