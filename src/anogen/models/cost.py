"""How large a model is, and how much it computes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from anogen.models.base import Model


@dataclass(frozen=True)
class Cost:
    """Of one net of a model, or of the whole.

    Attributes:
        parameters: that are trained.
        operations: multiplications and additions of convolutions and matrix products, for one image
            and one pass through `losses`, without the pass back, which takes twice as many.
    """

    parameters: int
    operations: int


def cost(model: Model) -> dict[str, Cost]:
    """The cost of a model, under the name of its class, and of each of its nets.

    Examples:
        >>> from anogen import VAE
        >>> found = cost(VAE((1, 28, 28), latent=2))
        >>> sorted(found), found["encoder"].parameters, found["VAE"].operations > 10**7
        (['VAE', 'decoder', 'encoder'], 105444, True)
    """
    before = model.training
    model.eval()
    device = next(model.parameters()).device
    images = 2  # some losses compare images with one another
    condition = model.condition.random(images, torch.Generator())
    condition = None if condition is None else condition.to(device)
    nets = {name: net for name, net in model.named_children() if list(net.parameters())}
    done = dict.fromkeys(nets, 0)
    with FlopCounterMode(display=False) as counter, torch.random.fork_rng(devices=[]):
        hooks = [hook for name, net in nets.items() for hook in _counting(name, net, counter, done)]
        try:
            model.losses(torch.rand(images, *model.shape, device=device), condition=condition)
        finally:
            model.train(before)
            for hook in hooks:
                hook.remove()
        whole = counter.get_total_flops()
    return {type(model).__name__: Cost(_parameters(model), whole // images)} | {
        name: Cost(_parameters(net), done[name] // images) for name, net in nets.items()
    }


def _counting(
    name: str, net: nn.Module, counter: FlopCounterMode, done: dict[str, int]
) -> list[RemovableHandle]:
    """Hooks that add what a net computes, as a whole or, where a model asks for that, in parts."""
    inside = 0

    def before(*_: Any) -> None:
        nonlocal inside
        if not inside:
            done[name] -= counter.get_total_flops()
        inside += 1

    def after(*_: Any) -> None:
        nonlocal inside
        inside -= 1
        if not inside:
            done[name] += counter.get_total_flops()

    return [
        hook
        for part in net.modules()
        for hook in (part.register_forward_pre_hook(before), part.register_forward_hook(after))
    ]


def _parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
