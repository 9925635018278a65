"""The step's one promise: each player follows the gradient of its own loss alone."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from anogen import MODELS, VAE, VAEGAN, GenerativeModel, Losses
from anogen.errors import UsageError
from anogen.nets import fused
from anogen.nets.fused import kernels
from anogen.training.step import make_players, set_gradients, train_step

from ..conftest import small_model

BETAS = (0.9, 0.999)


class Game(GenerativeModel):
    """Two players whose losses pull at the same weights in opposite directions."""

    monitor = "loss_left"

    def __init__(self, shape: tuple[int, int, int] = (1, 2, 2), rest: bool = False) -> None:
        super().__init__()
        self.shape, self.rest, self.latent = shape, rest, 3
        self.left, self.right = nn.Linear(4, 3), nn.Linear(3, 1)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"left": [self.left], "right": [self.right]}

    def losses(self, x, step=None, condition=None) -> Losses:
        score = self.right(self.left(x.flatten(1)).tanh())[:, 0]
        players = {"left": score.mean(), "right": (-score + score**2).mean()}
        if self.rest:
            del players["right"]
        return Losses(players, {"score": score})

    def decode(self, z, condition=None):
        return torch.zeros(len(z), *self.shape)


def game(**arguments) -> Game:
    torch.manual_seed(0)
    return Game(**arguments)


X = torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def test_each_gradient_equals_one_computed_alone():
    model = game()
    set_gradients(make_players(model, 0.1, BETAS), model.losses(X).players)
    for name, part in (("left", model.left), ("right", model.right)):
        found = [p.grad for p in part.parameters()]
        alone = game()
        alone.losses(X).players[name].backward()
        expected = [p.grad for p in getattr(alone, name).parameters()]
        for gradient, other in zip(found, expected, strict=True):
            assert_close(gradient, other)


def test_all_players_step_from_the_same_point():
    model, before = game(), game()
    train_step(model, make_players(model, 0.1, BETAS), X, 0)
    for name, part in (("left", model.left), ("right", model.right)):
        alone = game()
        optimizer = torch.optim.Adam(getattr(alone, name).parameters(), lr=0.1, betas=BETAS)
        alone.losses(X).players[name].backward()
        optimizer.step()
        for ours, theirs, old in zip(
            part.parameters(),
            getattr(alone, name).parameters(),
            getattr(before, name).parameters(),
            strict=True,
        ):
            assert_close(ours, theirs)
            assert not torch.equal(ours, old)


def test_a_player_left_out_rests():
    model, before = game(rest=True), game()
    players = make_players(model, 0.1, BETAS)
    train_step(model, players, X, 0)
    assert torch.equal(model.right.weight, before.right.weight)
    assert not torch.equal(model.left.weight, before.left.weight)
    assert not players[1].optimizer.state


def test_gradients_are_clipped_per_player():
    model = game()
    players = make_players(model, 0.1, BETAS)
    norms = []
    for player in players:
        player.optimizer.register_step_pre_hook(
            lambda *_, p=player: norms.append(
                torch.cat([w.grad.flatten() for w in p.parameters]).norm().item()
            )
        )
    train_step(model, players, X, 0, clip_gradient=1e-3)
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_losses_come_back_detached_and_gradients_are_cleared():
    model = game()
    losses = train_step(model, make_players(model, 0.1, BETAS), X, 0).losses
    assert not losses.players["left"].requires_grad
    assert not losses.terms["score"].requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_a_parameter_needs_exactly_one_player():
    shared, orphan = game(), game()
    shared.players = lambda: {"left": [shared.left, shared.right], "right": [shared.right]}
    orphan.players = lambda: {"left": [orphan.left]}
    with pytest.raises(UsageError, match="left and right share a weight"):
        make_players(shared, 0.1, BETAS)
    with pytest.raises(UsageError, match=r"no player trains right.weight, right.bias"):
        make_players(orphan, 0.1, BETAS)


def test_bfloat16_follows_float32(vae):
    results = {}
    for precision in (torch.float32, torch.bfloat16):
        model = vae((1, 16, 16), width=8)
        players = make_players(model, 1e-3, BETAS)
        x = torch.rand(16, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        results[precision] = [
            float(train_step(model, players, x, step, precision).losses.players["vae"])
            for step in range(5)
        ]
    assert results[torch.bfloat16] == pytest.approx(results[torch.float32], rel=0.02)
    assert results[torch.bfloat16] != results[torch.float32]


@pytest.mark.skipif(kernels() is None, reason="there is no C++ compiler")
@pytest.mark.parametrize(
    ("precision", "most"), [(torch.float32, 1e-3), (torch.bfloat16, 0.3)], ids=str
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: VAE((1, 16, 16), 4),
        lambda: VAEGAN((1, 16, 16), 4, discriminator_batch_norm=True, r1=0.0),
    ],
    ids=["VAE", "VAEGAN"],
)
def test_gradients_follow_those_of_plain_float32(make, precision, most, monkeypatch):
    """The plain formulation: float32, PyTorch's own operations, its own layout."""

    def gradients(model, precision):
        torch.manual_seed(0)
        players = make_players(model, 1e-3, BETAS)
        x = torch.rand(32, 1, 16, 16)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            losses = model.train().losses(x, 0)
        set_gradients(players, losses.players)
        parts = ((p.name, torch.cat([g.grad.flatten() for g in p.parameters])) for p in players)
        return dict(parts), losses.players

    torch.manual_seed(1)
    plain = make()
    ours = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    found, our_losses = gradients(ours, precision)
    monkeypatch.setattr(fused, "kernels", lambda: None)
    wanted, losses = gradients(plain, torch.float32)
    for name, gradient in found.items():
        assert (gradient - wanted[name]).norm() <= most * wanted[name].norm()
        assert our_losses[name].item() == pytest.approx(losses[name].item(), rel=most)


def test_a_rate_is_a_share_of_the_learning_rate_not_of_the_last_one(vae):
    (player,) = make_players(vae((1, 16, 16)), 0.02, (0.9, 0.999))
    for factor in (0.5, 0.5, 1.0, 0.25):
        player.scale_rate(factor)
        assert float(player.optimizer.param_groups[0]["lr"]) == pytest.approx(0.02 * factor)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_that_of_an_optimiser_which_goes_by_places(name):
    """Fused Adam goes by memory, and second derivatives lie in it otherwise than weights do."""
    torch.manual_seed(0)
    model = small_model(name, (3, 16, 16), latent=4, width=8).train()
    model.to(memory_format=torch.channels_last)
    plain = copy.deepcopy(model)
    x = torch.rand(8, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    condition = model.condition.random(8, None)
    torch.manual_seed(1)
    train_step(model, make_players(model, 0.01, BETAS), x, 0, condition=condition)
    torch.manual_seed(1)
    players = [
        replace(player, optimizer=torch.optim.Adam(player.parameters, 0.01, BETAS, fused=False))
        for player in make_players(plain, 0.01, BETAS)
    ]
    train_step(plain, players, x, 0, condition=condition)
    for (which, one), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        # a step is ±0.01 where a gradient is not 0; rounding decides the sign of the smallest
        share = ((one - other).abs() > 1e-3).double().mean().item()
        assert share < 0.02, f"{which}: {share:.0%} of the weights went elsewhere"
