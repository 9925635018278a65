"""The options of nets, stated once for nets and models."""

from typing import Any, Literal, TypedDict, get_args

from anogen.errors import UsageError, finite_number, true_or_false, unknown_name, whole_number
from anogen.nets.parts import Activation, Shape

Net = Literal["auto", "conv", "mlp"]
Upsampling = Literal["auto", "transposed", "smooth"]

MIN_SIZE = 16
"""Height and width below which a convolutional net is refused."""
MAX_DEPTH, MAX_UNITS = 100, 1_000_000
"""Deeper or wider nets than any machine can hold."""
COARSE = 7
"""Sizes up to this are not halved further, unless `depth` says so."""
WIDTH, LARGER, LEAST_WIDTH = 32, ((32, 32), (64, 16), (127, 8)), 4
"""Filters at full size of small images; sizes with the filters up to them; those of the largest."""
FULL_SIZE_UP_TO = 64
"""Larger images have no layer at full size, which would cost more than all others."""
ROUGH_UP_TO = 64
"""Of larger grey images, and of colour, the checkerboards of 3×3 transposed convolutions show."""
MOST_GROWN = 256
"""Filters to which growth leads at most."""


class NetOptions(TypedDict, total=False):
    """What encoders, decoders and discriminators are built from.

    Attributes:
        net: backbone: `conv`, `mlp`, or `auto`, which is `conv` for images of 16×16 and more.
        width: filters at full size; by default 32 for images up to 32×32, 16 up to 64×64, 8 below
            128×128 and 4 from there on. Of `mlp` an eighth of a layer's units.
        growth: what the filters are multiplied with as often as the size is halved but the last
            time, up to 256 filters; 2 by default.
        widths: filters at every size, from full size down, in the place of `width`, `growth` and
            `depth`; of `mlp` the units of every hidden layer.
        depth: how often the size is halved (rounded up); by default until it is at most 7. Of `mlp`
            hidden layers, 2 by default.
        full_size: whether there is a layer at full size; without, the first convolution halves the
            size and a decoder's last one doubles it. By default for images up to 64×64.
        dropout: probability of dropping a channel after each layer in training; 0 by default.
        batch_norm: whether layers are normalised; they are by default.
        activation: `leaky_relu` (slope 0.01, the default), `relu`, `silu` or `elu`.
        upsampling: the transposed convolutions by which a decoder doubles sizes: `transposed`, with
            kernels of 3×3 as in the paper; `smooth`, with kernels of 4×4 that begin as a resize
            before a convolution, which leaves no checkerboards (Odena et al. 2016); `auto`, the
            default, is `transposed` for grey images up to 64×64 and `smooth` for others.
    """

    net: Net
    width: int | None
    growth: float
    widths: list[int] | None
    depth: int | None
    full_size: bool | None
    dropout: float
    batch_norm: bool
    activation: Activation
    upsampling: Upsampling


DEFAULTS: NetOptions = {
    "net": "auto", "width": None, "growth": 2.0, "widths": None, "depth": None, "full_size": None,
    "dropout": 0.0, "batch_norm": True, "activation": "leaky_relu", "upsampling": "auto",
}  # fmt: skip


def complete(given: NetOptions) -> NetOptions:
    """The options with the defaults of those that are left out.

    Raises:
        UsageError: an unknown option, or a value that cannot be built.

    >>> complete({"width": 4})["activation"]
    'leaky_relu'
    """
    for name in given:
        if name not in DEFAULTS:
            raise unknown_name("option of a net", name, DEFAULTS)
    options: NetOptions = {**DEFAULTS, **given}
    for name, choices in (("net", Net), ("upsampling", Upsampling), ("activation", Activation)):
        if options[name] not in get_args(choices):
            raise unknown_name(name, str(options[name]), get_args(choices))
    true_or_false("batch_norm", options["batch_norm"])
    if options["full_size"] is not None:
        true_or_false("full_size", options["full_size"])
    for name in ("width", "depth"):
        if options[name] is not None:
            whole_number(name, options[name])
    for name in ("growth", "dropout"):
        finite_number(name, options[name])
    check_count("width", options["width"])
    check_count("depth", options["depth"], MAX_DEPTH)
    if not 0 <= options["dropout"] < 1:
        raise UsageError(f"dropout must lie in [0, 1), found {options['dropout']}")
    if not 1 <= options["growth"] <= MAX_UNITS:
        raise UsageError(f"growth must be at least 1, found {options['growth']}")
    if options["widths"] is not None:
        _check_widths(options["widths"], options)
    return options


def check_count(name: str, value: int | None, most: int = MAX_UNITS) -> None:
    """Refuse a number of units or layers that cannot be built."""
    if value is not None and value < 1:
        raise UsageError(f"{name} must be at least 1, found {value}")
    if value is not None and value > most:
        raise UsageError(f"{name} must be at most {most:,}, found {value}")


def _check_widths(widths: Any, options: NetOptions) -> None:
    if not isinstance(widths, list | tuple) or not widths:
        raise UsageError(f"widths is a list of numbers, such as [32, 64, 64], found {widths!r}")
    for width in widths:
        if not isinstance(width, int) or isinstance(width, bool):
            raise UsageError(f"widths has {width!r}; give whole numbers")
        check_count("a width", width)
    if options["width"] is not None or options["depth"] is not None:
        raise UsageError("widths takes the place of width and depth; leave these out")


def filters(shape: Shape, options: NetOptions) -> list[int]:
    """The filters of a convolutional net at every size, from full size down.

    Raises:
        UsageError: images too small, or too small for so many halvings.

    >>> filters((1, 28, 28), DEFAULTS), filters((3, 128, 128), DEFAULTS)
    ([32, 64, 64], [4, 8, 16, 32, 64, 64])
    """
    if options["widths"] is not None:
        check_size(shape, len(options["widths"]) - 1)
        return list(options["widths"])
    size = min(shape[1:])
    width = options["width"] or _width(size)
    depth = options["depth"] or _depth(size)
    check_size(shape, depth)
    most = max(MOST_GROWN, width)
    return [min(most, round(width * options["growth"] ** min(level, max(1, depth - 1))))
            for level in range(depth + 1)]  # fmt: skip


def has_full_size(shape: Shape, options: NetOptions) -> bool:
    """Whether a convolutional net has a layer at full size."""
    given = options["full_size"]
    return min(shape[1:]) <= FULL_SIZE_UP_TO if given is None else given


def is_smooth(shape: Shape, options: NetOptions) -> bool:
    """Whether a decoder's transposed convolutions are those of `smooth` upsampling."""
    if options["upsampling"] != "auto":
        return options["upsampling"] == "smooth"
    return shape[0] > 1 or min(shape[1:]) > ROUGH_UP_TO


def _width(size: int) -> int:
    return next((width for most, width in LARGER if size <= most), LEAST_WIDTH)


def _depth(size: int) -> int:
    depth = 0
    while size > COARSE:
        size, depth = (size + 1) // 2, depth + 1
    return max(1, depth)


def sizes(shape: Shape, depth: int) -> list[tuple[int, int]]:
    """Heights and widths from full size down, halved and rounded up `depth` times.

    >>> sizes((1, 28, 33), 2)
    [(28, 33), (14, 17), (7, 9)]
    """
    path = [shape[1:]]
    for _ in range(depth):
        path.append(((path[-1][0] + 1) // 2, (path[-1][1] + 1) // 2))
    return path


def check_size(shape: Shape, depth: int) -> None:
    """Refuse images that are too small to be halved `depth` times."""
    if min(shape[1:]) < MIN_SIZE:
        raise UsageError(
            f"images of {shape[1]}×{shape[2]} are too small for these nets; give "
            f"{MIN_SIZE}×{MIN_SIZE} or more (set image_size for a folder of pictures), or net mlp "
            "where the model has that option"
        )
    if min(shape[1:]) < 2 ** (depth + 1):
        raise UsageError(
            f"depth {depth} halves images of {shape[1]}×{shape[2]} away; give a smaller depth"
        )
