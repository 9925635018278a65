"""Pictures with what to see in them: drawn, kept in a folder, and shown on a page."""

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from anogen.durable import read_regular, replace_durably
from anogen.errors import MachineError
from anogen.report import figures

PNG = b"\x89PNG\r\n\x1a\n"
"""How every PNG begins."""
PLAIN = re.compile(r"[0-9A-Za-z_+=-][0-9A-Za-z_.+=-]*\.png")
"""What files of pictures are called: in the folder itself, nothing hidden."""


@dataclass(frozen=True)
class Picture:
    """A figure with what to see in it.

    Attributes:
        name: of the file, without its ending.
        title: a few words.
        caption: what it shows, for the page and for those who cannot see it.
        figure: to be saved.
    """

    name: str
    title: str
    caption: str
    figure: Figure

    @property
    def uri(self) -> str:
        """The picture as PNG within an address, so that a page needs no other file."""
        return data_uri(figures.to_png(self.figure))


@dataclass(frozen=True)
class Kept:
    """A picture that was drawn before.

    Attributes:
        file: the PNG's name in its folder.
        folder: where it lies.
        name, title, caption: as of `Picture`.
    """

    file: str
    folder: Path
    name: str
    title: str
    caption: str

    @property
    def uri(self) -> str:
        """As of `Picture`.

        Raises:
            MachineError: the file is no picture of this folder.
        """
        path = self.folder / self.file
        content = b"" if path.is_symlink() else read_regular(path)
        if not content.startswith(PNG):
            raise MachineError(f"{path}: not a PNG picture of this folder; remove it")
        return data_uri(content)


def keep_pictures(
    pictures: Iterable[Picture], folder: Path, name: str, before: Iterable[Kept] = ()
) -> list[Kept]:
    """Write each as a PNG into a folder, and a list of them, `<name>.json`, after the last.

    Args:
        pictures: to be written.
        folder: where to.
        name: of the list.
        before: pictures of the folder that stay in the list, unless drawn anew.
    """
    kept_pictures: list[Kept] = []
    for drawn_picture in pictures:
        file = re.sub(r"[^0-9A-Za-z_.+=-]", "_", drawn_picture.name).lstrip(".") + ".png"
        figures.save(drawn_picture.figure, folder / file)
        kept_pictures.append(
            Kept(file, folder, drawn_picture.name, drawn_picture.title, drawn_picture.caption)
        )
    drawn = {kept.file for kept in kept_pictures}
    kept_pictures = [*(kept for kept in before if kept.file not in drawn), *kept_pictures]
    about = [{k: v for k, v in asdict(kept).items() if k != "folder"} for kept in kept_pictures]
    replace_durably(folder / f"{name}.json", (json.dumps(about, indent=1) + "\n").encode())
    return kept_pictures


def kept_pictures(folder: Path, name: str) -> list[Kept]:
    """What `keep_pictures` wrote and is still there; nothing where it wrote nothing.

    Raises:
        MachineError: the list is damaged, or names a file elsewhere.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        return []
    try:
        if path.is_symlink():
            raise ValueError("a link")
        entries: list[dict[str, Any]] = json.loads(read_regular(path))
        if not all(isinstance(text, str) for entry in entries for text in entry.values()):
            raise TypeError("not text")
        kept = [Kept(**entry, folder=folder) for entry in entries]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise MachineError(f"{path}: damaged list of pictures; remove it, draw again") from error
    for picture in kept:
        if not PLAIN.fullmatch(picture.file):
            raise MachineError(
                f"{path}: names {picture.file!r}, which is no picture of its folder; remove it, "
                "draw again"
            )
    return [picture for picture in kept if (folder / picture.file).is_file()]


def data_uri(png: bytes) -> str:
    """A PNG file as an address, so that a page has its pictures within."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
