"""Pictures of defects with masks that say where the defects are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anogen.data.decoding import decoded
from anogen.data.images import Images
from anogen.data.layouts import GOOD, sub_folders
from anogen.data.pictures import NO_PICTURE, Pictures
from anogen.data.walk import walk
from anogen.errors import DataError

GROUND_TRUTH = "ground_truth"
"""Where MVTec AD's layout keeps masks, in folders named as the kinds of defects."""
ENDING = "_mask"
"""What a mask's name may have after its picture's."""
COVERED = 64
"""Of 255: how much of a pixel a mask must cover once both are brought to the size of the net."""

Masks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Masked:
    """Pictures that have defects, and where these are.

    Attributes:
        images: `[n, c, h, w]`.
        masks: bool `[n, h, w]`, true where there is a defect.
        files: of the pictures.
    """

    images: Images
    masks: Masks
    files: list[Path]


def kinds_of_defects(folder: Path) -> list[Path]:
    """The folders of the kinds of defects in MVTec AD's layout; none in another one."""
    names = sub_folders(folder / "test")
    if sub_folders(folder / "train") != [GOOD] or GOOD not in names:
        return []
    return [folder / "test" / name for name in names if name != GOOD]


def masks_beside(folder: Path) -> Path | None:
    """Where MVTec AD's layout keeps the masks of a kind of defect, if they are there."""
    masks = folder.parent.parent / GROUND_TRUTH / folder.name
    return masks if folder.parent.name == "test" and masks.is_dir() else None


def read_plain(folder: Path, pictures: Pictures) -> tuple[Images, list[Path]]:
    """All pictures of a folder, however few, and their files.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    files = walk(folder).files
    if not files:
        raise DataError(f"{folder}: {NO_PICTURE}")
    return Images(decoded(files, pictures, folder.name), folder.name), files


def read_masked(folder: Path, masks: Path, pictures: Pictures) -> Masked:
    """The pictures of a folder with their masks.

    A mask is a picture that is 0 where there is no defect. It has its picture's name, with or
    without `_mask` after it, any ending, and lies in the same sub-folder.

    Args:
        folder: of pictures.
        masks: the folder of their masks.
        pictures: how the pictures are read; masks are brought to the same size.

    Raises:
        DataError: a picture without a mask, a mask without a picture, or of another size than its
            picture's.
    """
    images, files = read_plain(folder, pictures)
    known = {_key(path, masks): path for path in walk(masks).files}
    keys = [path.relative_to(folder).with_suffix("").as_posix() for path in files]
    for key, path in zip(keys, files, strict=True):
        if key not in known:
            raise DataError(f"{path}: has no mask in {masks}; give it one, all black for none")
    unused = [path for key, path in known.items() if key not in set(keys)]
    if unused:
        raise DataError(f"{unused[0]}: a mask without a picture in {folder}")
    read = [_mask(known[key], path, pictures) for key, path in zip(keys, files, strict=True)]
    return Masked(images, np.stack(read), files)


def _key(path: Path, masks: Path) -> str:
    return path.relative_to(masks).with_suffix("").as_posix().removesuffix(ENDING)


def _mask(mask: Path, picture: Path, pictures: Pictures) -> Masks:
    """One mask in the size of the net: bool `[h, w]`."""
    from PIL import Image

    plain = Pictures(channels=1, background="black")
    size, expected = plain.shape_of(mask)[1:], plain.shape_of(picture)[1:]
    if size != expected:
        raise DataError(f"{mask}: {size[1]}×{size[0]} pixels, but its picture {picture} has "
                        f"{expected[1]}×{expected[0]}")  # fmt: skip
    marked = np.where(plain.read(mask)[:, :, 0] > 0, 255, 0).astype(np.uint8)
    if pictures.image_size is not None:
        like = Pictures(pictures.image_size, pictures.resize, 1, "black")
        marked = np.asarray(like.resized(Image.fromarray(marked)))
    return marked >= COVERED
