"""Arrays of images in any usual layout and type, as floats for a model and back again."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.images import refuse_masked
from anogen.errors import DataError

WHITE = {"uint8": 255.0, "uint16": 65535.0}
"""The value of white, by type; of floats it is 1."""


@dataclass(frozen=True)
class Layout:
    """How images were given, so that others can be given back like them.

    Attributes:
        shape: of the array.
        order: `nchw` or `nhwc`; where an array has fewer axes, those that it has.
        kind: of its values.
    """

    shape: tuple[int, ...]
    order: str
    kind: np.dtype[Any]

    @classmethod
    def read(cls, array: NDArray[Any], name: str = "images") -> "tuple[Layout, Tensor]":
        """The layout of an array, and its images as float32 `[n, c, h, w]`, white 1.

        Args:
            array: `[h, w]`, `[h, w, c]`, `[n, h, w]` with w above 4, `[n, c, h, w]` or
                `[n, h, w, c]`, c 1 or 3; uint8, uint16, bool, or floats, which may lie outside
                [0, 1].
            name: for messages.

        Raises:
            DataError: another shape or type, no image, or a value that is no number.

        Examples:
            >>> layout, x = Layout.read(np.full((5, 6, 3), 255, np.uint8))
            >>> layout.order, x.shape, layout.array(x).shape
            ('hwc', torch.Size([1, 3, 5, 6]), (5, 6, 3))
        """
        refuse_masked(array, name)
        values = np.asarray(array)
        order = _order(values.shape)
        if order is None or 0 in values.shape:
            raise DataError(
                f"{name}: shape {list(values.shape)} is not [h, w], [h, w, 3], [n, h, w], "
                "[n, c, h, w] or [n, h, w, c] with 1 or 3 channels; leave opacity out"
            )
        if values.dtype.name not in (*WHITE, "bool") and values.dtype.kind != "f":
            raise DataError(
                f"{name}: type {values.dtype} is not uint8, uint16, bool or a float, white 1"
            )
        x = values.astype(np.float32)
        if not np.isfinite(x).all():
            place = np.argwhere(~np.isfinite(x))[0].tolist()
            raise DataError(f"{name}: the value at {place} is not a finite number")
        x /= WHITE.get(values.dtype.name, 1.0)
        x = x if "n" in order else x[None]
        x = x if "c" in order else x[:, None]
        x = x.transpose(0, 3, 1, 2) if order.endswith("c") else x
        layout = cls(values.shape, order, values.dtype)
        return layout, torch.from_numpy(np.ascontiguousarray(x))

    def of_shape(self, count: int, shape: tuple[int, int, int]) -> "Layout":
        """The same for so many images of another size and other colours.

        Where there was no axis for channels and three of them are needed, it becomes the last.

        >>> layout = Layout((5, 6), "hw", np.dtype(np.uint8))
        >>> layout.of_shape(1, (3, 8, 8)).shape
        (8, 8, 3)
        """
        order = self.order if "c" in self.order or shape[0] == 1 else f"{self.order}c"
        sizes = dict(zip("nchw", (count, *shape), strict=True))
        return replace(self, shape=tuple(sizes[axis] for axis in order), order=order)

    def plane(self, x: Tensor) -> NDArray[Any]:
        """One value for each pixel, `[n, 1, h, w]`, as an array that goes with those of images."""
        values = x.cpu().numpy()
        values = values.transpose(0, 2, 3, 1) if self.order.endswith("c") else values
        values = values if "c" in self.order else values.squeeze(1)
        return values if "n" in self.order else values[0]

    def array(self, x: Tensor) -> NDArray[Any]:
        """Images `[n, c, h, w]` in [0, 1], laid out as those that were read, of the same type."""
        values = x.float().clamp(0, 1).cpu().numpy()
        values = values.transpose(0, 2, 3, 1) if self.order.endswith("c") else values
        values = values.reshape(self.shape)
        if self.kind == np.bool_:
            return values >= 0.5
        white = WHITE.get(self.kind.name)
        return values.astype(self.kind) if white is None else np.rint(values * white).astype(
            self.kind
        )  # fmt: skip


def _order(shape: tuple[int, ...]) -> str | None:
    if len(shape) == 2:
        return "hw"
    if len(shape) == 3 and shape[2] > 4:
        return "nhw"
    if len(shape) == 3:
        return "hwc" if shape[2] in (1, 3) else None
    if len(shape) == 4 and shape[1] in (1, 3):
        return "nchw"
    return "nhwc" if len(shape) == 4 and shape[3] in (1, 3) else None


def in_channels(x: Tensor, channels: int) -> Tensor:
    """Images with so many channels: colours become images of their own, grey becomes three alike.

    Raises:
        DataError: that cannot be done.

    >>> in_channels(torch.zeros(2, 3, 4, 4), 1).shape, in_channels(torch.zeros(2, 1, 4, 4), 3).shape
    (torch.Size([6, 1, 4, 4]), torch.Size([2, 3, 4, 4]))
    """
    if x.shape[1] == channels:
        return x
    if channels not in (1, 3):
        raise DataError(f"images of {x.shape[1]} channels, the model is for {channels}")
    return x.flatten(0, 1)[:, None] if channels == 1 else x.expand(-1, channels, -1, -1)


def out_of_channels(x: Tensor, count: int, channels: int) -> Tensor:
    """The inverse of `in_channels`, of `count` images with so many channels."""
    if len(x) != count:
        return x[:, 0].unflatten(0, (count, channels))
    return x if x.shape[1] == channels else x.mean(1, keepdim=True)
