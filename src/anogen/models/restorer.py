"""A net that restores damaged images, trained with clean images or without."""

from collections.abc import Hashable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anogen.errors import UsageError, unknown_name
from anogen.models.base import Losses, Model
from anogen.models.damage import Damage
from anogen.models.terms import squared_error
from anogen.nets import Shape
from anogen.nets.restoration import RestorationNet, filled_up

Learning = Literal["clean", "noise_to_noise", "recorrupted", "noise_to_self"]
LEAST_PATCH = 16
GRID = 4
"""Of a noise-to-self training one pixel in each square of so many is hidden."""
MORE_NOISE = 0.5
"""How much further noise a recorrupted image gets, relative to its own."""


class Restorer(Model):
    """Images as they were before noise, holes or blur: a U-Net that works on images of any size.

    The player `restorer` minimises the squared error of a restored patch, which a mean image
    minimises; so where several images could have been, their mean comes back.

    What it learns from, with x an image of the training data and d(x) a damaged one:

    - `clean`: d(x) is to become x.
    - `noise_to_noise`: d(x) is to become another d(x), for what damages without a bias (Lehtinen et
      al. 2018). The clean x is never a target.
    - `recorrupted`: the training images are noisy themselves, with Gaussian noise z of a known
      standard deviation `noise`. With further noise e of the same kind, x + ½e is to become
      x − 2e, whose noises are independent of one another (Pang et al. 2021).
    - `noise_to_self`: the training images are noisy themselves, in a manner that need not be known
      but must not reach from pixel to pixel. One pixel of every sixteen is hidden, and is to be
      found from the others (Batson & Royer 2019). Restoring takes sixteen passes, in which each
      pixel is hidden once.

    Args:
        shape: channels, height and width of the training images; others may have another height
            and width.
        corruption: what damages images, see `Damage`; ignored where they are noisy themselves.
        blind: whether the net must see by itself how strong the noise is; else it is told: in
            training the strength of the first corruption, later what is given or estimated.
        learning: see above.
        noise: standard deviation of the training images' own noise, full range 1; for
            `recorrupted`.
        patch: height and width of the patches that it is trained on, with random turns and flips;
            of smaller images, the image.
        patches: of each image in a batch.
        width: of the net, see `anogen.nets.restoration.RestorationNet`.
        levels: likewise.
        blocks: likewise.

    Raises:
        UsageError: options that contradict one another or cannot be built.

    Source: see `RestorationNet` for the net, the list above for how it learns.

    Examples:
        >>> import torch
        >>> model = Restorer((1, 32, 32), corruption="gaussian_noise=0..0.2", width=4)
        >>> model.losses(torch.rand(4, 1, 32, 32)).terms["squared_error"].shape
        torch.Size([4])
        >>> model.eval().reconstruct(torch.rand(1, 1, 50, 70)).shape
        torch.Size([1, 1, 50, 70])
    """

    monitor = "mean_squared_error"
    recordable = False  # damage is made on the processor

    def __init__(
        self,
        shape: Shape,
        *,
        corruption: str = "gaussian_noise=0..0.2",
        blind: bool = True,
        learning: Learning = "clean",
        noise: float | None = None,
        patch: int = 64,
        patches: int = 1,
        width: int = 32,
        levels: int = 3,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        if learning not in get_args(Learning):
            raise unknown_name("learning", str(learning), get_args(Learning))
        if (learning == "recorrupted") != (noise is not None):
            raise UsageError("noise, of the training images, goes with learning recorrupted")
        if noise is not None and noise <= 0:
            raise UsageError(f"noise must be positive, found {noise}")
        if patch < LEAST_PATCH or patches < 1:
            raise UsageError(
                f"patch must be at least {LEAST_PATCH} and patches at least 1, found {patch} and "
                f"{patches}"
            )
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self.learning, self.noise, self.patch, self.patches = learning, noise, patch, patches
        self.blind = blind
        damage = Damage(corruption)
        noisy = learning in ("recorrupted", "noise_to_self")
        if not blind and (noisy or damage.parts[0].name != "gaussian_noise"):
            raise UsageError(
                "blind false is for a corruption that begins with gaussian_noise, and for learning "
                "clean or noise_to_noise"
            )
        self.damage = None if noisy else damage
        self.net = RestorationNet(shape[0], width, levels, blocks, levelled=not blind)

    @property
    def step(self) -> int:
        """Heights and widths are filled up to multiples of this."""
        return max(self.net.step, GRID) if self.learning == "noise_to_self" else self.net.step

    def players(self) -> dict[str, list[nn.Module]]:
        """One player trains the net."""
        return {"restorer": [self]}

    def losses(self, x: Tensor, step: int | None = None, condition: Tensor | None = None) -> Losses:
        """The player's loss, squared error averaged over pixels; per example: squared errors.

        In evaluation whole images are restored, from the same damage each time that the random
        generator is in the same state.
        """
        del condition
        if step is not None:
            x = self._patches(x)
        given, target, level, hidden = self._task(x)
        restored = self.net(given, level)
        if hidden is not None:
            restored, target = restored * hidden, target * hidden
        error = squared_error(target, restored)
        pixels = x[0].numel() if hidden is None else hidden[0].sum().clamp(min=1) * self.shape[0]
        mean = error / pixels
        terms = {"squared_error": error.detach(), "mean_squared_error": mean.detach()}
        return Losses({"restorer": mean.mean()}, terms)

    def phase(self, step: int) -> Hashable | None:
        """No step can be replayed."""
        del step

    def reconstruct(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The restored images, float32 `[b, c, h, w]` in [0, 1], of any height and width."""
        del condition
        return self.restore(x).clamp(0, 1)

    def restore(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """The restored images, not clipped.

        Args:
            x: float `[b, c, h, w]`.
            level: for a net that is not blind, the standard deviation of the noise, float `[b]`;
                default: estimated from each image.
        """
        if self.learning == "noise_to_self":
            return self._without_themselves(x)
        if self.blind:
            return self.net(x)
        return self.net(x, self.level_of(x) if level is None else level)

    def _without_themselves(self, x: Tensor) -> Tensor:
        """Every pixel as it is found from the others, in a pass for each that hides."""
        height, width = x.shape[2:]
        found = filled = filled_up(x, self.step)
        neighbours = _neighbours(filled)
        for place in range(GRID**2):
            hidden = _grid(filled, *divmod(place, GRID))
            found = torch.where(hidden, self.net(torch.where(hidden, neighbours, filled)), found)
        return found[..., :height, :width]

    def level_of(self, x: Tensor) -> Tensor:
        """The noise of images as far as the net has learnt such, estimated: float32 `[b]`."""
        assert self.damage is not None
        return noise_level(x).clamp(self.damage.parts[0].low, self.damage.parts[0].high)

    def _task(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """What the net is given and what that is to become; the noise level; which pixels count."""
        if self.learning == "recorrupted":
            assert self.noise is not None
            more = torch.randn_like(x) * self.noise
            return x + MORE_NOISE * more, x - more / MORE_NOISE, None, None
        if self.learning == "noise_to_self":
            hidden = _hidden(x)
            return torch.where(hidden, _neighbours(x), x), x, None, hidden
        assert self.damage is not None
        given, strengths = self.damage(x)
        level = None if self.blind else strengths[:, 0]
        target = x if self.learning == "clean" else self.damage(x)[0]
        return given, target, level, None

    def _patches(self, x: Tensor) -> Tensor:
        """Patches at random, turned and flipped at random, all of a batch alike."""
        height, width = (min(self.patch, size) for size in x.shape[2:])
        cut: list[Tensor] = []
        for number in range(len(x) * self.patches):
            top = int(torch.randint(x.shape[2] - height + 1, ()))
            left = int(torch.randint(x.shape[3] - width + 1, ()))
            image = x[number // self.patches]
            cut.append(image[:, top : top + height, left : left + width])
        patches = torch.stack(cut)
        turns, flipped = int(torch.randint(4, ())), int(torch.randint(2, ()))
        patches = patches.rot90(turns, (2, 3))
        return patches.flip(3) if flipped else patches


def noise_level(x: Tensor) -> Tensor:
    """An estimate of the standard deviation of white Gaussian noise in images: float32 `[b]`.

    From what a filter leaves that is blind to constant, sloped and curved grey.

    Args:
        x: float `[b, c, h, w]`.

    Source: Immerkær 1996.

    >>> noisy = 0.5 + 0.1 * torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0))
    >>> round(noise_level(noisy).item(), 2)
    0.1
    """
    mask = x.new_tensor([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    if min(x.shape[2:]) < 3:
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    left = F.conv2d(x.float().flatten(0, 1)[:, None], mask.float())
    mean = left.abs().unflatten(0, x.shape[:2]).mean((1, 2, 3, 4))
    return mean * ((torch.pi / 2) ** 0.5 / 6)


def _hidden(x: Tensor) -> Tensor:
    """One pixel of every square, at the same random place in each: bool `[b, 1, h, w]`."""
    return _grid(x, *(int(torch.randint(GRID, ())) for _ in range(2)))


def _grid(x: Tensor, top: int, left: int) -> Tensor:
    """The pixels at one place of every square: bool `[b, 1, h, w]`."""
    hidden = torch.zeros_like(x[:, :1], dtype=torch.bool)
    hidden[:, :, top::GRID, left::GRID] = True
    return hidden


def _neighbours(x: Tensor) -> Tensor:
    """At each pixel the mean of the eight around it."""
    sums = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1) * 9
    return (sums - x) / 8
