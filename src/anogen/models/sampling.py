"""New images from a model: from its own prior, or from one that is learnt from where the data lies.

A VAE that reconstructs sharply leaves holes between the posteriors of the data, and its prior puts
most samples there. A mixture is fitted to the encoded training data after training, kept with the
run, and puts them where the data lies (two-stage sampling: Dai & Wipf 2019; Ghosh et al. 2020,
section 4).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from anogen.checkpoint import load_checkpoint, save_checkpoint
from anogen.data.images import Images
from anogen.errors import MachineError, UsageError, unknown_name
from anogen.models.base import GenerativeModel, Sampler
from anogen.models.mixture import MixtureSampler
from anogen.progress import say

SamplerName = Literal["auto", "prior", "mixture"]


@dataclass(frozen=True)
class PriorSampler:
    """Standard normal latents, the prior that models are trained with.

    Args:
        latent: their length.

    Examples:
        >>> PriorSampler(2).latents(3, torch.Generator(), None).shape
        torch.Size([3, 2])
    """

    latent: int
    name: ClassVar[str] = "prior"

    def latents(self, count: int, generator: Generator, condition: Tensor | None) -> Tensor:
        """float32 `[count, latent]`, drawn with `generator`."""
        del condition
        return torch.randn(count, self.latent, generator=generator, dtype=torch.float32)


def draw(
    model: GenerativeModel,
    count: int,
    generator: Generator,
    size: int,
    condition: Tensor | None = None,
    sampler: Sampler | None = None,
) -> Iterator[Tensor]:
    """`count` new images, at most `size` at a time: float `[≤ size, c, h, w]` in [0, 1].

    Args:
        model: in evaluation mode.
        count: how many.
        generator: of the draws, on the processor.
        size: of a pass.
        condition: one for each, for a conditional model; default: drawn uniformly.
        sampler: of the latents; default: the model's own.
    """
    if condition is None:
        condition = model.condition.random(count, generator)
    for start in range(0, count, size):
        number = min(size, count - start)
        part = None if condition is None else condition[start : start + number]
        yield model.sample(number, generator, part, sampler)


def own_sampler(model: GenerativeModel) -> Sampler:
    """What `model.sample` draws latents from where nothing else is said."""
    return model.sampler or PriorSampler(model.latent)


def make_sampler(name: SamplerName, model: GenerativeModel, images: Images | None) -> Sampler:
    """The sampler of a name.

    Args:
        name: `auto`, the model's own; `prior`; or `mixture`, which is fitted unless the model has
            one.
        model: in evaluation mode.
        images: to which a mixture is fitted, the training images.

    Raises:
        UsageError: an unknown name, or a mixture without images or for a model that cannot encode.
    """
    if name not in get_args(SamplerName):
        raise unknown_name("sampler", name, get_args(SamplerName))
    if name == "prior":
        return PriorSampler(model.latent)
    own = own_sampler(model)
    if name in ("auto", own.name):
        return own
    if images is None:
        raise UsageError(f"the sampler {name} needs the images that the model was trained on")
    return MixtureSampler.fit(model, images)


def save_sampler(folder: Path, sampler: MixtureSampler, weights_sha256: str) -> None:
    """Keep a sampler in a folder, with the hash of the weights that it was fitted to."""
    state = {"name": sampler.name, "weights_sha256": weights_sha256}
    save_checkpoint(folder, {"sampler": sampler.state()}, state)


def load_sampler(folder: Path, weights_sha256: str) -> MixtureSampler | None:
    """The sampler of a folder; None where there is none, or it was fitted to other weights.

    One that is damaged is said, and is as good as none.
    """
    if not folder.exists():
        return None
    try:
        tensors, state = load_checkpoint(folder)
        if state.get("weights_sha256") != weights_sha256:
            return None
        return MixtureSampler.of_state(tensors["sampler"])
    except (MachineError, KeyError, ValueError) as error:
        say(f"warning: {folder}: damaged ({error}); samples come from the prior until anogen "
            "train --resume has fitted it again")  # fmt: skip
        return None
