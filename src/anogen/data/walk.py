"""Picture files: finding them below a folder, and saying what else there was."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anogen.data.pictures import PICTURE_SUFFIXES
from anogen.progress import say

MOST_KINDS = 12
"""Reasons why files were left out, in one message."""


@dataclass(frozen=True)
class Walk:
    """The pictures below a folder, and what else there was.

    Attributes:
        folder: where it began.
        files: regular files called as pictures are, in the order of their names.
        left_out: why → how many: `hidden`, `unreadable`, `linked twice` (a folder), `no file` (a
            broken link, a pipe or a device), or the ending of its name.
    """

    folder: Path
    files: list[Path]
    left_out: Counter[str]

    def say_left_out(self) -> None:
        """Say what was not read, if anything, in one line."""
        if self.left_out:
            most = sorted(self.left_out.items(), key=lambda pair: (-pair[1], pair[0]))
            what = ", ".join(f"{why}: {count}" for why, count in sorted(most[:MOST_KINDS]))
            what += ", and others" if len(most) > MOST_KINDS else ""
            say(f"{self.folder}: left out what is no picture ({what})")


def walk(folder: Path) -> Walk:
    """Look for pictures below a folder.

    Links to folders are followed, each folder being entered once. Hidden files and folders, whose
    names begin with a dot, are left out; the folder itself may be a hidden one.
    """
    files: list[Path] = []
    left_out: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    folders, links = [folder], list[Path]()
    while folders or links:  # links last, so that a folder is found under its own name
        inside = folders.pop() if folders else links.pop(0)
        try:
            about = inside.stat()
            entries = sorted(os.scandir(inside), key=lambda entry: entry.name)
        except OSError:
            left_out["unreadable"] += 1
            continue
        if (about.st_dev, about.st_ino) in seen:
            left_out["linked twice"] += 1
            continue
        seen.add((about.st_dev, about.st_ino))
        for entry in entries:
            path = inside / entry.name
            if entry.name.startswith("."):
                left_out["hidden"] += 1
            elif _is(entry, "dir"):
                (links if entry.is_symlink() else folders).append(path)
            elif not _is(entry, "file"):
                left_out["no file"] += 1
            elif path.suffix.lower() in PICTURE_SUFFIXES:
                files.append(path)
            else:
                left_out[path.suffix.lower() or "without an ending"] += 1
    return Walk(folder, sorted(files), left_out)


def _is(entry: "os.DirEntry[str]", kind: Literal["dir", "file"]) -> bool:
    try:
        return entry.is_dir() if kind == "dir" else entry.is_file()
    except OSError:
        return False
