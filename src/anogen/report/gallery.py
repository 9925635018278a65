"""Pictures with what to see in them: drawn, kept in a folder, and shown on a page."""

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from anogen.checkpoint import replace_durably
from anogen.report import figures


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
        return _uri(figures.to_png(self.figure))


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
        """As of `Picture`."""
        return _uri((self.folder / self.file).read_bytes())


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
    found: list[Kept] = []
    for made in pictures:
        file = re.sub(r"[^0-9A-Za-z_.+=-]", "_", made.name) + ".png"
        figures.save(made.figure, folder / file)
        found.append(Kept(file, folder, made.name, made.title, made.caption))
    drawn = {kept.file for kept in found}
    found = [*(kept for kept in before if kept.file not in drawn), *found]
    about = [{k: v for k, v in asdict(kept).items() if k != "folder"} for kept in found]
    replace_durably(folder / f"{name}.json", (json.dumps(about, indent=1) + "\n").encode())
    return found


def kept_pictures(folder: Path, name: str) -> list[Kept]:
    """What `keep_pictures` wrote and is still there; nothing where it wrote nothing."""
    try:
        about = json.loads((folder / f"{name}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [Kept(**entry, folder=folder) for entry in about if (folder / entry["file"]).is_file()]


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
