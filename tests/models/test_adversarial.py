"""Adversarial losses and penalties: the signs that others got wrong."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from anogen.models.adversarial import ADVERSARIAL, gradient_penalty, unit_gradient_penalty

LOGITS = torch.linspace(-3, 3, 13)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_who_wants_what(name):
    """The discriminator wants real up and fake down; the generator wants fake up."""
    kind = ADVERSARIAL[name]
    real, fake = LOGITS.clone().requires_grad_(), LOGITS.flip(0).clone().requires_grad_()
    of_real, of_fake = torch.autograd.grad(kind.discriminator(real, fake).sum(), (real, fake))
    assert (of_real <= 0).all()
    assert (of_fake >= 0).all()
    assert of_real.min() < 0 < of_fake.max()
    (wish,) = torch.autograd.grad(kind.generator(real, fake).sum(), fake)
    assert (wish < 0).all()


def test_saturating_and_non_saturating_agree_on_the_discriminator_only():
    first, second = ADVERSARIAL["saturating"], ADVERSARIAL["non_saturating"]
    assert torch.equal(first.discriminator(LOGITS, LOGITS), second.discriminator(LOGITS, LOGITS))
    assert_close(first.generator(LOGITS, LOGITS), torch.sigmoid(-LOGITS).log())
    assert_close(second.generator(LOGITS, LOGITS), -torch.sigmoid(LOGITS).log())


def test_penalties_of_a_linear_score_are_exact():
    weight = torch.randn(3, 4, 4)
    score = lambda x: (x * weight).sum((1, 2, 3)) + 7  # noqa: E731
    x, y = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    norm = weight.norm()
    assert_close(gradient_penalty(score, x), (0.5 * norm**2).expand(5))
    assert_close(unit_gradient_penalty(score, x, y), ((norm - 1) ** 2).expand(5))


def test_a_penalty_trains_the_score():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    gradient_penalty(lambda x: net(x)[:, 0], torch.randn(6, 1, 2, 2)).mean().backward()
    assert net[1].weight.grad is not None
    assert net[1].weight.grad.abs().sum() > 0
