"""The layers of the paper's nets, forward and backward, in the forms that they can take.

    python benchmarks/layers.py --out docs/results/layers.json

Channels last, in the precision in which anogen trains there. All forms of a layer compute the same,
which is checked before they are timed in turn. It shows why the nets are written as they are.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anogen.allocator import keep_freed_memory
from anogen.device import choose_precision
from anogen.nets.fused import Layers, kernels
from race import keep, machine, per_second, race, show

Form = Callable[[Tensor, Tensor], Tensor]
"""Images and a weight → what the layer makes of them."""
PYTORCH = "PyTorch's own"
NORM = "normalisation and rectifier, 32 channels of 28×28"
CALLS = 10
PRECISION = choose_precision("auto", torch.device("cpu"))
LOW = torch.float32 != PRECISION


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    found: dict[str, Any] = {}
    for title, (shape, weight, forms) in layers(options.batch).items():
        torch.manual_seed(0)
        x, w = channels_last(torch.randn(shape)), torch.randn(weight) / 10
        check(forms, x, w)
        entries = {name: timed(form, x, w) for name, form in forms.items()}
        found[title] = race(entries, options.repetitions)
        show(f"{title}: images per second, median (lowest to highest)", found[title], PYTORCH)
    keep(machine() | {"batch": options.batch, "images_per_s": found}, options.out)


def layers(batch: int) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Form]]]:
    """Title → shapes of images and weight, and the forms by name."""
    norm = nn.BatchNorm2d(32), nn.LeakyReLU(inplace=True)
    plain, compiled = nn.Sequential(*norm), Layers(*norm)
    faster: Any = torch.compile(plain)
    norms: dict[str, Form] = {PYTORCH: lambda x, _: plain(x)}  # the weight is its own
    if kernels() is not None:  # both need a C++ compiler
        norms["torch.compile"] = lambda x, _: faster(x)
        norms["compiled on first use"] = lambda x, _: compiled(x)
    return {
        NORM: ((batch, 32, 28, 28), (1,), norms),
        "convolution 32 → 64 with stride 2": ((batch, 32, 28, 28), (64, 32, 3, 3), {
            PYTORCH: lambda x, w: F.conv2d(x, w, stride=2, padding=1),
            "space to depth, then stride 1": space_to_depth,
        }),
        "transposed convolution 64 → 32 with stride 2": ((batch, 64, 14, 14), (64, 32, 3, 3), {
            PYTORCH: lambda x, w: F.conv_transpose2d(x, w, None, 2, 1, 1),
            "stride 1, then depth to space": depth_to_space,
        }),
        "convolution 32 → 1": ((batch, 32, 28, 28), (1, 32, 3, 3), {
            PYTORCH: lambda x, w: F.conv2d(x, w, padding=1),
            "matrix product, then fold": product_and_fold,
        }),
    }  # fmt: skip


def space_to_depth(x: Tensor, w: Tensor) -> Tensor:
    """Each block of 2×2 pixels becomes a pixel; rows 2i − 1, 2i, 2i + 1 lie in blocks i − 1, i."""
    n, c, height, width = x.shape
    blocks = x.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2, c)
    rows = blocks.permute(0, 1, 3, 2, 4, 5).reshape(n, height // 2, width // 2, 4 * c)
    taps = F.pad(w, (1, 0, 1, 0)).view(len(w), c, 2, 2, 2, 2).permute(0, 3, 5, 1, 2, 4)
    kernel = channels_last(taps.reshape(len(w), 4 * c, 2, 2))
    return F.conv2d(F.pad(rows.permute(0, 3, 1, 2), (1, 0, 1, 0)), kernel)


def depth_to_space(x: Tensor, w: Tensor) -> Tensor:
    """Row 2i comes from row i by the middle tap, row 2i + 1 from rows i and i + 1 by the others."""
    out, (n, c, height, width) = w.shape[1], x.shape
    tap = torch.tensor([[1, 3], [2, 0]])  # of (row in the block, row it comes from); 3 is none
    taps = F.pad(w, (0, 1, 0, 1))[:, :, tap][:, :, :, :, tap]  # in, out, p, a, q, b
    kernel = channels_last(taps.permute(2, 4, 1, 0, 3, 5).reshape(4 * out, c, 2, 2))
    y = F.conv2d(F.pad(x, (0, 1, 0, 1)), kernel).permute(0, 2, 3, 1)
    blocks = y.reshape(n, height, width, 2, 2, out).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, 2 * height, 2 * width, out).permute(0, 3, 1, 2)


def product_and_fold(x: Tensor, w: Tensor) -> Tensor:
    """What each pixel adds to its neighbours, all at once, and then their sum."""
    n, c, height, width = x.shape
    parts = x.permute(0, 2, 3, 1).reshape(-1, c) @ w.view(c, 9).flip(1)
    return F.fold(parts.view(n, -1, 9).transpose(1, 2).float(), (height, width), 3, padding=1)


def called(form: Form, x: Tensor, weight: Tensor) -> Tensor:
    """What a form gives, computed as in training."""
    with torch.autocast("cpu", torch.bfloat16, enabled=LOW):
        return form(x, weight)


def check(forms: dict[str, Form], x: Tensor, weight: Tensor) -> None:
    """All forms give the same, but for rounding."""
    first, *others = (called(form, x, weight.to(x.dtype)).float() for form in forms.values())
    for other in others:
        assert (first - other).norm() < 0.01 * first.norm()


def timed(form: Form, x: Tensor, weight: Tensor) -> Callable[[], float]:
    """Images per second of a form, forward and backward to its images and its weights."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    slope = channels_last(torch.ones_like(called(form, x, weight)))

    def once() -> None:
        x.grad = weight.grad = None
        called(form, x, weight).backward(slope)

    return lambda: per_second(CALLS * len(x), lambda: [once() for _ in range(CALLS)])


def channels_last(x: Tensor) -> Tensor:
    """In the precision of training, channels last in memory."""
    return x.to(PRECISION, memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
