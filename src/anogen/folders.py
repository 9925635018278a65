"""Where anogen keeps what it can fetch or make again."""

import os
from pathlib import Path


def cache_dir() -> Path | None:
    """The user's cache folder: `$XDG_CACHE_HOME/anogen`, by default `~/.cache/anogen`.

    None for a user without a home folder, as in many containers. A folder that all users share
    would not do instead: what is loaded from the cache must be this user's.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "anogen"
    except RuntimeError:  # neither $HOME nor a line in the list of users
        return None
