"""Picture files read with all their bits, to be written again as they were found."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.data.pictures import PHOTOMETRIC, Pictures, check_regular, tag
from anogen.errors import DataError, first_line

JPEG_QUALITY = 95
KEPT = ("icc_profile", "exif", "dpi")
"""What is kept of a file beside its pixels; of a PNG file its texts too."""
COLOURS = ("RGB", "RGBA", "RGBX", "RGBa")
BITS = 258
"""The tag of a TIFF file that says how many bits its values have."""
DEEP = (
    "16 bits for colours or opacity; of 16-bit pictures only plain grey ones are restored, save "
    "it with 8 bits, or split it"
)
PNG_DEPTH, PNG_COLOUR = 24, 25
"""Where a PNG file's header says how many bits its values have, and what they are."""


@dataclass(frozen=True)
class Picture:
    """A picture as its file has it.

    Attributes:
        pixels: uint8 `[h, w]` or `[h, w, 3]`, or uint16 `[h, w]`.
        alpha: how opaque each pixel is, uint8 `[h, w]`; None: fully.
        form: Pillow's name of the file's format.
        about: what else the file says, to be written again.
        sha256: of the file.
    """

    pixels: NDArray[Any]
    alpha: NDArray[np.uint8] | None
    form: str
    about: dict[str, Any]
    sha256: str

    @classmethod
    def read(cls, path: Path) -> "Picture":
        """A picture with all its bits, turned as it lies in the file; see `of`."""
        check_regular(path)
        try:
            return cls.of(path.read_bytes(), path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error

    @classmethod
    def of(cls, content: bytes, path: Path) -> "Picture":
        """The picture in the content of a file; the path is its name in messages.

        Raises:
            DataError: it is damaged, too large, moving, of another format, or in colours of 16
                bits.
        """
        if content.startswith(b"\x89PNG") and content[PNG_DEPTH : PNG_COLOUR + 1] in (
            b"\x10\x02", b"\x10\x04", b"\x10\x06",
        ):  # fmt: skip
            raise DataError(f"{path}: {DEEP}")
        with Pictures().opened(path, content) as picture:
            if picture.mode in COLOURS and any(bits > 8 for bits in _bits(picture)):
                raise DataError(f"{path}: {DEEP}")
            about = {key: picture.info[key] for key in KEPT if picture.info.get(key)}
            texts = getattr(picture, "text", None)
            if isinstance(texts, dict) and texts:
                about["texts"] = {str(key): str(value) for key, value in texts.items()}
            if picture.mode not in (*COLOURS, "P", "L", "LA") and not picture.mode.startswith("I"):
                about.pop("icc_profile", None)  # of colours that are about to be others
            form, alpha = picture.format or "PNG", None
            if picture.mode.startswith("I"):
                values = np.asarray(picture).astype(np.int64)
                if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
                    raise DataError(f"{path}: grey values that do not fit into 16 bits")
                if picture.format == "TIFF" and tag(picture, PHOTOMETRIC) == 0:
                    values = 65535 - values
                pixels: NDArray[Any] = values.astype(np.uint16)
            else:
                if picture.has_transparency_data:
                    picture = picture.convert("LA" if picture.mode in ("L", "LA", "La") else "RGBA")
                    alpha = np.asarray(picture.getchannel("A"))
                grey = picture.mode in ("1", "L", "LA", "La")
                pixels = np.asarray(picture.convert("L" if grey else "RGB"))
        return cls(pixels, alpha, form, about, hashlib.sha256(content).hexdigest())

    def as_mask(self) -> NDArray[np.bool_]:
        """Where it is nearer to white than to black, bool `[h, w]`."""
        grey = self.pixels if self.pixels.ndim == 2 else self.pixels.max(2)
        return grey > np.iinfo(grey.dtype).max // 2

    def content(self, pixels: NDArray[Any]) -> bytes:
        """A file of the same kind, with the same description, of other pixels.

        What a format cannot hold without loss (JPEG) is written with little loss.
        """
        from PIL import Image, PngImagePlugin

        picture = Image.fromarray(pixels)
        if self.alpha is not None:
            picture.putalpha(Image.fromarray(self.alpha))
        options: dict[str, Any] = {k: v for k, v in self.about.items() if k != "texts"}
        form = "JPEG" if self.form == "MPO" else self.form
        if form == "PNG" and "texts" in self.about:
            options["pnginfo"] = PngImagePlugin.PngInfo()
            for key, text in self.about["texts"].items():
                options["pnginfo"].add_text(key, text)
        if form == "JPEG":
            options |= {"quality": JPEG_QUALITY, "subsampling": 0}
        if form == "WEBP":
            options["lossless"] = True
        if form == "TIFF":
            options["compression"] = "tiff_deflate"
        file = io.BytesIO()
        try:
            picture.save(file, form, **options)
        except Exception as error:  # Pillow raises many kinds for a description that is odd
            raise DataError(f"cannot be written as {form} ({first_line(error)})") from error
        return file.getvalue()


def _bits(picture: Any) -> tuple[int, ...]:
    """How many bits the values of a TIFF file have, by channel; of other files nothing."""
    bits = tag(picture, BITS) if picture.format == "TIFF" else None
    return tuple(bits) if isinstance(bits, tuple) else ()
