"""Translating images: one function for arrays, and what a picture becomes in every domain."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.array_layout import Layout
from anogen.data.batches import to_bytes, to_unit
from anogen.data.domains import brought_to
from anogen.device import choose_device, memory_advice
from anogen.errors import DataError, UsageError, checked_seed, unknown_name, whole_number
from anogen.models.base import Model
from anogen.models.translator import Translator
from anogen.run import Run

MOST_SAMPLES = 1000


@dataclass(frozen=True)
class Translated:
    """Images as another domain would have them.

    Attributes:
        images: laid out as those that were given and of the same type, in the size and colours of
            the model.
        samples: further ones, with codes drawn from the posterior, `[samples, …]`; or None.
    """

    images: NDArray[Any]
    samples: NDArray[Any] | None = None


@dataclass(frozen=True)
class Domains:
    """A translator with the names of its domains.

    Attributes:
        model: in evaluation mode, for its results.
        names: of its domains, in the order of its conditions.
    """

    model: Translator
    names: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, names: Any = ()) -> "Domains":
        """A model with the names that its data gave its domains; of others, numbers.

        Raises:
            UsageError: the model translates nothing.
        """
        if not isinstance(model, Translator):
            raise UsageError(
                f"a {type(model).__name__} does not translate; train a Translator, such as anogen "
                "train --model Translator --data usps,mnist"
            )
        known = tuple(str(name) for name in names)[: model.classes]
        numbers = tuple(str(number) for number in range(model.classes))
        return cls(model, known if len(known) == model.classes else numbers)

    def number(self, name: str | int) -> int:
        """The number of a domain.

        Raises:
            UsageError: there is no such domain.
        """
        if isinstance(name, int) and not isinstance(name, bool) and 0 <= name < len(self.names):
            return name
        if str(name) not in self.names:
            raise unknown_name("domain", str(name), self.names)
        return self.names.index(str(name))

    def brought(self, x: Tensor) -> Tensor:
        """Images `[n, c, h, w]` in the size and colours of the model, bicubic."""
        if x.shape[1:] == self.model.shape:
            return x
        return to_unit(torch.from_numpy(brought_to(to_bytes(x), self.model.shape)))

    def translated(
        self, x: Tensor, domain: int, samples: int = 0, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """One image in a domain, and further ones of drawn codes.

        Args:
            x: float32 `[1, c, h, w]` in [0, 1], in the size of the model.
            domain: its number.
            samples: how many.
            seed: of the draws.

        Returns:
            float32 `[1, c, h, w]` and `[samples, c, h, w]` in [0, 1].
        """
        model = self.model
        generator = torch.Generator().manual_seed(seed)
        target = next(model.parameters()).device
        x = x.to(target)
        condition = torch.full((1,), domain, device=target)
        drawn = [
            model.translate(
                x, condition, torch.randn(1, model.latent, generator=generator).to(target)
            ).cpu()
            for _ in range(samples)
        ]
        empty = torch.empty(0, *model.shape)
        return model.translate(x, condition).cpu(), torch.cat(drawn) if drawn else empty

    @torch.no_grad()
    def everywhere(self, x: Tensor) -> Tensor:
        """One image in each domain: float32 `[domains, c, h, w]`; for x see `translated`."""
        return torch.cat([self.translated(x, domain)[0] for domain in range(len(self.names))])

    def source_of(self, x: Tensor) -> int:
        """The domain that an image is from: in which it is reconstructed best."""
        return int((self.everywhere(x) - x).abs().flatten(1).mean(1).argmin())


def translate(
    model: Translator | Run | str | Path,
    images: NDArray[Any],
    to: str | int,
    *,
    samples: int = 0,
    seed: int = 0,
    device: str = "auto",
) -> Translated:
    """Images of any domain of a translator, as another one would have them.

    Each is translated by itself, so that it gives the same result in any company.

    Args:
        model: a `Translator`, a run, or the path of a run. With the device `auto` a model stays
            where it lies.
        images: `[h, w]`, `[h, w, 3]`, `[n, h, w]`, `[n, c, h, w]` or `[n, h, w, c]` with 1 or 3
            channels; uint8, uint16, bool, or floats in [0, 1]. Those of another size or other
            colours than the model's are brought to its own, stretched.
        to: the domain that they are to become: its name, or its number for a model.
        samples: further images, with codes drawn from the posterior, which show how else they may
            look; needs a model with `beta` above 0.
        seed: of the draws.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: the model translates nothing, or there is no such domain.
        DataError: images of a wrong shape or type.
        TrainingError: memory ran out.

    Examples:
        >>> import anogen, torch
        >>> _ = torch.manual_seed(0)
        >>> model = anogen.Translator((1, 28, 28), width=4)
        >>> digits = np.zeros((2, 16, 16), np.uint8)
        >>> anogen.translate(model, digits, to=1).images.shape
        (2, 28, 28)
    """
    run = Run.open(model) if isinstance(model, str | Path) else model
    domains = domains_of(run) if isinstance(run, Run) else Domains.of(run)
    if isinstance(run, Run) or device != "auto":
        domains.model.to(choose_device(device))
    number = domains.number(to)
    check_samples(domains.model, samples)
    checked_seed(seed)
    trained = domains.model.training
    layout, x = Layout.read(images)
    if x.min() < 0 or x.max() > 1:
        raise DataError(f"images: floats must lie in [0, 1], found {x.min():g} to {x.max():g}")
    x = domains.brought(x)
    out = layout.of_shape(len(x), domains.model.shape)
    results: list[tuple[Tensor, Tensor]] = []
    try:
        domains.model.eval()
        with torch.no_grad(), memory_advice("take a machine with more memory"):
            for one in x.split(1):
                results.append(domains.translated(one, number, samples, seed))
    finally:
        domains.model.train(trained)
    drawn = [out.array(torch.stack([each[1][k] for each in results])) for k in range(samples)]
    return Translated(
        out.array(torch.cat([each[0] for each in results])), np.stack(drawn) if drawn else None
    )


def domains_of(run: Run, checkpoint: str | None = None, allow_code: bool = False) -> Domains:
    """The translator of a run, with the names of its domains."""
    model = run.load_model(checkpoint, allow_code=allow_code)
    return Domains.of(model, run.environment["data"].get("classes") or ())


def check_samples(model: Translator, samples: int) -> None:
    """Refuse draws from a model whose codes are not drawn, or too many."""
    if not 0 <= whole_number("samples", samples) <= MOST_SAMPLES:
        raise UsageError(f"samples must lie between 0 and {MOST_SAMPLES}, found {samples}")
    if samples and not model.beta:
        raise UsageError("this Translator was trained with beta 0, so that its codes do not vary")
