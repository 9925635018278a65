"""Picture files: reading each to bytes of one layout."""

import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anogen.errors import DataError, UsageError, first_line, unknown_name, whole_number
from anogen.progress import say

if TYPE_CHECKING:
    from PIL import Image

Resize = Literal["stretch", "crop", "pad"]
Background = Literal["white", "black", "grey"]

FORMATS = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "BMP": (".bmp",),
           "TIFF": (".tif", ".tiff"), "WEBP": (".webp",)}  # fmt: skip
"""Pillow's name of each format that is read, and how its files are called."""
PICTURE_SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
NO_PICTURE = "no PNG or JPEG picture in it, nor BMP, TIFF or WebP"
KINDS = "a PNG or JPEG picture, nor BMP, TIFF or WebP"
"""What files are not that cannot be read, in messages."""
BACKGROUNDS = {"white": 255, "grey": 128, "black": 0}
MAX_PICTURE_PIXELS = 50_000_000
"""A larger picture is refused from its header, before a byte of it is decoded."""
GREY = ("1", "L", "LA", "La")
"""Pillow's modes of grey pictures, beside those of 16 bits."""
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
"""The EXIF tag of how a camera was held, and its values that swap height and width."""
PHOTOMETRIC = 262
"""The tag of a TIFF file that says what its grey values mean; 0: white is 0."""
USUAL_BITS = 12
"""16-bit files whose values need no more bits than these are taken for those of a camera."""


def check_regular(path: Path) -> None:
    """Refuse what is no file with a content: a pipe or a device would keep a reader waiting.

    Raises:
        DataError: it is missing, something else, or cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise DataError(f"{path}: No such file or folder") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise DataError(f"{path}: {kind}, not a file")


@dataclass
class Pictures:
    """How pictures are read.

    Attributes:
        image_size: height and width to bring them to; None keeps theirs.
        resize: `stretch` ignores the aspect ratio, `crop` keeps the centre, `pad` keeps all and
            fills up with the background.
        channels: 1 for grey, 3 for RGB; None keeps grey where a picture is grey.
        background: what shows through transparent pixels: `white`, `grey` or `black`; the colour
            that a file hides under them does not count.
        bits: significant bits of 16-bit grey pictures, 8 to 16, for cameras that fill 10 or 12 of
            them; None takes all 16, and `warn_of_unused_bits` says where that loses levels.

    What was read is remembered as far as that warning needs it: the greatest 16-bit value.
    Several threads may read at a time.

    Raises:
        UsageError: a value that makes no sense.
    """

    image_size: int | None = None
    resize: Resize = "stretch"
    channels: int | None = None
    background: Background = "white"
    bits: int | None = None
    _highest: int = field(default=0, init=False, repr=False, compare=False)
    _lock: Any = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.resize not in get_args(Resize):
            raise unknown_name("resize", str(self.resize), get_args(Resize))
        if self.background not in get_args(Background):
            raise unknown_name("background", str(self.background), BACKGROUNDS)
        if self.channels not in (None, 1, 3):
            raise UsageError(f"channels must be 1 (grey) or 3 (RGB), found {self.channels}")
        if self.image_size is not None:
            size = whole_number("image_size", self.image_size)
            if size < 1 or size**2 > MAX_PICTURE_PIXELS:
                most = int(MAX_PICTURE_PIXELS**0.5)
                raise UsageError(f"image_size must be positive and at most {most}, found {size}")
        if self.bits is not None and not 8 <= whole_number("bits", self.bits) <= 16:
            raise UsageError(f"bits must lie between 8 and 16, found {self.bits}")

    def __getstate__(self) -> dict[str, Any]:
        """Without the lock, which cannot be pickled."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=Lock())

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the pixels, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def read(self, path: Path, content: bytes | None = None) -> NDArray[np.uint8]:
        """One picture as uint8 `[h, w, c]`, refused from its header where it is too large.

        Args:
            path: of the file.
            content: of the file, where it is at hand; then the path is its name in messages only.

        Raises:
            DataError: it is damaged, too large, moving, or of another format.
        """
        from PIL import ImageOps

        with self.opened(path, content) as picture:
            reversed_grey = picture.format == "TIFF" and tag(picture, PHOTOMETRIC) == 0
            if picture.format != "PNG" or "exif" in picture.info:  # before its pixels
                picture = ImageOps.exif_transpose(picture)
            picture = self._to_8_bit(picture, path, reversed_grey)
            grey = self._channels(picture) == 1
            image = self._opaque(picture).convert("L" if grey else "RGB")
            array = np.asarray(image if self.image_size is None else self.resized(image))
        return array[:, :, None] if array.ndim == 2 else array

    def shape_of(self, path: Path) -> tuple[int, int, int]:
        """Channels, height and width that `read` will give, from the picture's header.

        Raises:
            DataError: as `read`, but for damage below the header.
        """
        from PIL import Image

        with self.opened(path) as picture:
            height, width = picture.height, picture.width
            turned = Image.Image.getexif(picture)  # a PNG's own would decode the picture first
            if turned.get(ORIENTATION, 1) in TURNED:
                height, width = width, height
            channels = self._channels(picture)
        if self.image_size is not None:
            height = width = self.image_size
        return channels, height, width

    def _channels(self, picture: "Image.Image") -> int:
        if self.channels is not None:
            return self.channels
        return 1 if picture.mode in GREY or picture.mode.startswith("I") else 3

    def resized(self, image: "Image.Image") -> "Image.Image":
        """A picture brought to `image_size`, which must be set."""
        from PIL import ImageOps

        assert self.image_size is not None
        size, grey = (self.image_size, self.image_size), BACKGROUNDS[self.background]
        if self.resize == "crop":
            return ImageOps.fit(image, size)
        if self.resize == "pad":
            return ImageOps.pad(image, size, color=grey if image.mode == "L" else (grey,) * 3)
        return image.resize(size)

    @contextmanager
    def opened(self, path: Path, content: bytes | None = None) -> "Generator[Image.Image]":
        """The picture, its header read and found good; damage that shows in the block is told.

        Raises:
            DataError: it is damaged, too large, moving, or of another format.
        """
        from PIL import Image, UnidentifiedImageError

        if content is None:
            check_regular(path)
        try:
            # a file object, because what Pillow maps from a path it does not always turn rightly
            with (
                _own_limit,
                path.open("rb") if content is None else BytesIO(content) as file,
                Image.open(file, formats=tuple(FORMATS)) as picture,
            ):
                self._refuse(picture, path)
                yield picture
        except UnidentifiedImageError as error:
            raise DataError(f"{path}: not {KINDS}, or a damaged one") from error
        except DataError:
            raise
        except Exception as error:  # Pillow raises many kinds for a damaged file
            raise DataError(f"{path}: damaged picture ({first_line(error)})") from error

    def warn_of_unused_bits(self, name: str) -> None:
        """Say so where the 16-bit pictures that were read use 12 bits or fewer."""
        highest = self._highest
        used = highest.bit_length()
        if self.bits is None and 0 < used <= USUAL_BITS:
            say(
                f"warning: {name}: 16-bit pictures use {used} bits at most, so that no more "
                f"than {max(1, highest >> 8) + 1} of 256 grey levels are left; set bits "
                f"{max(8, used)}"
            )

    def _refuse(self, picture: "Image.Image", path: Path) -> None:
        if picture.width * picture.height > MAX_PICTURE_PIXELS:
            raise DataError(
                f"{path}: {picture.width}×{picture.height} pixels; pictures over "
                f"{MAX_PICTURE_PIXELS // 1_000_000} megapixels are refused, make it smaller"
            )
        if picture.format != "MPO" and _moves(picture):  # that one is a photograph with a preview
            raise DataError(f"{path}: has more than one frame; only still pictures are read")
        if picture.mode == "F":
            raise DataError(
                f"{path}: has floating-point pixels; save them as a .npy array in [0, 1]"
            )

    def _opaque(self, picture: "Image.Image") -> "Image.Image":
        """The picture over the background, where it has transparent pixels."""
        from PIL import Image

        if not picture.has_transparency_data:
            return picture
        grey = BACKGROUNDS[self.background]
        over: Any = Image.new("RGBA", picture.size, (grey, grey, grey, 255))
        over.alpha_composite(picture.convert("RGBA"))
        return over

    def _to_8_bit(self, picture: "Image.Image", path: Path, reversed_grey: bool) -> "Image.Image":
        """16-bit grey pictures by their upper bits; Pillow's own conversion would clip them."""
        from PIL import Image

        if not picture.mode.startswith("I"):
            return picture
        values = np.asarray(picture)
        if reversed_grey:
            values = (1 << (self.bits or 16)) - 1 - values.astype(np.int64)
        highest, bits = int(values.max(initial=0)), self.bits or 16
        if int(values.min(initial=0)) < 0 or highest >= 1 << bits:
            raise DataError(
                f"{path}: grey values up to {highest} do not fit into {bits} bits"
                + (
                    f"; set bits {highest.bit_length()}"
                    if highest < 1 << 16
                    else "; save it with 8 or 16 bits"
                )
            )
        with self._lock:
            self._highest = max(self._highest, highest)
        grey = (values.astype(np.uint16) >> (bits - 8)).astype(np.uint8)
        if isinstance(picture.info.get("transparency"), int):  # one grey value that is no colour
            grey[values == picture.info["transparency"]] = BACKGROUNDS[self.background]
        return Image.fromarray(grey)


class _OwnLimit:
    """While any thread is in the block, Pillow's limit of size is off, because ours is in force."""

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._before: int | None = None

    def __enter__(self) -> None:
        from PIL import Image

        with self._lock:
            if not self._inside:
                self._before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        from PIL import Image

        with self._lock:
            self._inside -= 1
            if not self._inside:
                Image.MAX_IMAGE_PIXELS = self._before


_own_limit = _OwnLimit()


def _moves(picture: "Image.Image") -> bool:
    """Whether there is a second frame; how many there are may take long to count."""
    try:
        picture.seek(1)
    except EOFError:
        return False
    return True


def tag(picture: Any, number: int) -> Any:
    """A tag of a TIFF file."""
    return picture.tag_v2.get(number)
