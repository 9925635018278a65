"""Adversarial losses and penalties: the signs that others got wrong."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from anogen.models.adversarial import (
    ADVERSARIAL,
    discriminator_penalty,
    gradient_penalty,
    logit_terms,
    unit_gradient_penalty,
)

LOGITS = torch.linspace(-3, 3, 13)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_who_wants_what(name):
    """The discriminator wants real up and fake down; the generator wants fake up."""
    kind = ADVERSARIAL[name]
    logits = LOGITS / 4 if name == "least_squares" else LOGITS  # it has had enough at 1 and −1
    real, fake = logits.clone().requires_grad_(), logits.flip(0).clone().requires_grad_()
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


def test_least_squares_pulls_towards_one_and_minus_one():
    kind = ADVERSARIAL["least_squares"]
    real, fake = torch.tensor([0.5, 1.0]), torch.tensor([2.0, -1.0])
    assert_close(kind.discriminator(real, fake), torch.tensor([0.125 + 4.5, 0.0]))
    assert_close(kind.generator(real, fake), torch.tensor([0.5, 2.0]))


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


def test_r1_is_of_real_and_r2_of_generated_images():
    """½‖∇‖² of ½‖x‖² is ½‖x‖² itself, so that each penalty says which images it is of."""

    def score(x):
        return 0.5 * x.square().sum((1, 2, 3))

    real, fake = torch.full((4, 1, 2, 2), 3.0), torch.full((4, 1, 2, 2), 5.0)
    for r1, r2 in ((0.0, 0.0), (2.0, 0.0), (0.0, 3.0), (2.0, 3.0)):
        found = discriminator_penalty(score, real, fake, "relativistic", r1=r1, r2=r2)
        assert_close(found, torch.tensor(r1 * 0.5 * 36 + r2 * 0.5 * 100))


def test_wasserstein_s_own_penalty_has_the_published_weight():
    weight = torch.randn(3, 4, 4)
    score = lambda x: (x * weight).sum((1, 2, 3))  # noqa: E731
    real, fake = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    found = discriminator_penalty(score, real, fake, "wasserstein")
    assert_close(found, 10 * (weight.norm() - 1) ** 2)


def test_the_points_of_wasserstein_s_penalty_lie_between_the_images():
    seen = []

    def score(x):
        seen.append(x.detach())
        return x.sum((1, 2, 3))

    unit_gradient_penalty(score, torch.zeros(500, 1, 1, 1), torch.ones(500, 1, 1, 1))
    (points,) = seen
    assert 0 <= points.min() < 0.05
    assert 0.95 < points.max() <= 1
    assert points.mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("loss", ADVERSARIAL)
def test_the_discriminator_is_right_where_it_says_so(loss):
    real, fake = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([-1.0, -3.0, 3.0])
    terms = logit_terms(real, fake, loss)
    relative = loss in ("relativistic", "wasserstein")
    right = ([1, 1, 0], [1, 1, 0]) if relative else ([1, 0, 1], [1, 1, 0])
    assert (terms["accuracy_real"].tolist(), terms["accuracy_fake"].tolist()) == right


def test_all_pixels_of_such_a_point_have_one_share():
    seen = []

    def score(x):
        seen.append(x.detach())
        return x.sum((1, 2, 3))

    unit_gradient_penalty(score, torch.zeros(50, 2, 3, 3), torch.ones(50, 2, 3, 3))
    rows = seen[0].flatten(1)
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert rows[:, 0].unique().numel() == 50
