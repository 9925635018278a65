"""Images decoded from the posterior of damaged ones: what could have been."""

from typing import Any

import torch
from torch import Tensor


def posterior_samples(model: Any, x: Tensor, samples: int, seed: int) -> Tensor:
    """Images decoded from latents drawn from each image's posterior: `[samples, b, c, h, w]`.

    Args:
        model: one that has a posterior and decodes, in evaluation mode.
        x: float32 `[b, c, h, w]`, as damaged as in training.
        samples: how many.
        seed: of the draws, which are the same for every image.
    """
    mean, logvar = model.posterior(x)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, mean.shape[1], generator=generator).to(mean)
    return torch.stack([model.decode(mean + one * torch.exp(0.5 * logvar)) for one in noise])
