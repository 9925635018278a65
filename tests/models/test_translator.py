"""The translator: what each player minimises, pairs, conditions, nets of any size."""

import math

import pytest
import torch
from torch.nn import functional as F

from anogen import Translator
from anogen.errors import UsageError
from anogen.models.translator import partners
from anogen.nets.translation import TranslationDecoder, TranslationEncoder

DOMAINS = torch.tensor([0, 1, 0, 1, 1])


def model_of(**options) -> Translator:
    torch.manual_seed(0)
    return Translator((1, 20, 22), **{"width": 4, "judge": "image"} | options)


def images(count: int = 5) -> torch.Tensor:
    return torch.rand(count, 1, 20, 22, generator=torch.Generator().manual_seed(1))


def losses_of(model, condition=DOMAINS, step=1):
    torch.manual_seed(2)
    return model.losses(images(len(condition)), step, condition)


def test_the_translators_loss_is_the_sum_that_the_class_names():
    model = model_of(identity=3.0, cycle=5.0, beta=0.5, adversarial=2.0)
    found = losses_of(model)
    x = images()
    mu, logvar = model.posterior(x)
    # the same draws in the same order: domains first, then codes
    torch.manual_seed(2)
    other = (DOMAINS + torch.randint(1, 2, DOMAINS.shape)) % 2
    z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
    y = model.decode(z, other)
    own = (model.decode(z, DOMAINS) - x).abs().mean((1, 2, 3))
    back = (model.decode(model.posterior_mean(y), DOMAINS) - x).abs().mean((1, 2, 3))
    kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
    fool = F.softplus(-model.logit(y, other))
    expected = 3 * own.mean() + 5 * back.mean() + 0.5 * kl.mean() + 2 * fool.mean()
    assert math.isclose(found.players["translator"].item(), expected.item(), rel_tol=1e-5)
    assert torch.allclose(found.terms["cycle_error"], back, atol=1e-6)
    assert torch.allclose(found.terms["identity_error"], own, atol=1e-6)
    assert torch.allclose(found.terms["kl_nats"], kl.sum(1), rtol=1e-5)
    judge = F.softplus(-model.logit(x, DOMAINS)) + F.softplus(model.logit(y, other))
    assert math.isclose(found.players["discriminator"].item(), judge.mean().item(), rel_tol=1e-5)


def test_features_of_the_discriminator_count_in_every_error():
    plain, featured = (losses_of(model_of(feature=f)).terms for f in (0.0, 2.0))
    model = model_of()
    x, y = images(), images().flip(0)
    of_x, of_y = (model.discriminator.features(each)[-1] for each in (x, y))
    pixels = (x - y).abs().mean((1, 2, 3))
    expected = pixels + 2 * (of_x - of_y).square().flatten(1).mean(1)
    featured_model = model_of(feature=2.0)
    assert torch.allclose(featured_model._error(x, y, of_x, DOMAINS), expected, rtol=1e-5)
    for name in ("identity_error", "cycle_error"):
        assert (featured[name] > plain[name]).all()


def test_pairs_are_found_in_the_batch_and_the_others_cost_nothing():
    condition = torch.tensor([[0, 4], [1, 4], [0, 9], [1, 5], [0, 5]])
    model = model_of(identity=0.0, cycle=0.0, beta=0.0, adversarial=0.0, paired=7.0)
    found = losses_of(model, condition)
    x = images()
    y = model.translate(x, 1 - condition[:, 0])
    error = torch.stack([(y[a] - x[b]).abs().mean() for a, b in ((0, 1), (1, 0), (3, 4), (4, 3))])
    terms = found.terms["paired_error"]
    assert torch.allclose(terms[[0, 1, 3, 4]], error * 5 / 4, atol=1e-6)
    assert terms[2] == 0
    assert math.isclose(terms.mean().item(), error.mean().item(), rel_tol=1e-5)
    assert math.isclose(found.players["translator"].item(), 7 * error.mean().item(), rel_tol=1e-5)
    assert "paired_error" not in losses_of(model, condition[:, 0]).terms


def test_partners_among_three_domains():
    condition = torch.tensor([[0, 1], [1, 1], [2, 1], [0, 2], [2, 2]])
    place, known = partners(condition, torch.tensor([2, 0, 1, 1, 0]))
    assert known.tolist() == [1, 1, 1, 0, 1]
    assert [place[i].item() for i in (0, 1, 2, 4)] == [2, 0, 1, 3]


def test_another_domain_is_drawn_uniformly():
    model = model_of(classes=4)
    domain = torch.arange(4).repeat_interleave(3000)
    torch.manual_seed(0)
    own, other = model._domains(domain)
    assert torch.equal(own, domain)
    assert not (other == domain).any()
    counts = torch.bincount(4 * domain + other, minlength=16).view(4, 4)
    assert (counts + torch.eye(4) * 1000 - 1000).abs().max() < 120


def test_only_its_own_gradient_reaches_a_player_and_a_resting_one_rests():
    model = model_of(critic_steps=3)
    assert set(losses_of(model, step=0).players) == {"discriminator"}
    assert set(losses_of(model, step=2).players) == {"translator", "discriminator"}
    assert model.phase(0) != model.phase(1)
    assert model.phase(1) != model.phase(2)
    owned = [p for modules in model.players().values() for m in modules for p in m.parameters()]
    assert len(owned) == len(set(owned)) == len(list(model.parameters()))


def test_the_penalty_comes_every_so_many_steps_with_that_weight():
    lazy, never = model_of(r1=2.0, penalty_every=4), model_of(r1=0.0)
    assert (
        losses_of(lazy, step=3).players["discriminator"]
        == losses_of(never).players["discriminator"]
    )
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(lazy.logit(x, DOMAINS).sum(), x)
    penalty = 0.5 * gradient.square().flatten(1).sum(1).mean()
    difference = (
        losses_of(lazy, step=4).players["discriminator"] - losses_of(never).players["discriminator"]
    )
    assert math.isclose(difference.item(), 4 * 2 * penalty.item(), rel_tol=1e-3, abs_tol=1e-6)


def test_every_patch_is_judged_for_itself():
    model = model_of(judge="patches", r1=2.0, penalty_every=4)
    x = images()
    before = model.discriminator(x)
    x[:, :, 0, 0] += 1
    changed = (model.discriminator(x) - before).abs().sum((0, 1)) > 0
    assert changed[:2, :2].all()
    assert not changed[3:].any()
    assert not changed[:, 3:].any()
    found = losses_of(model)
    torch.manual_seed(2)
    other = (DOMAINS + torch.randint(1, 2, DOMAINS.shape)) % 2
    mu, logvar = model.posterior(images())
    y = model.decode(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar), other)
    pick = torch.arange(5)
    real = model.discriminator(images())[pick, DOMAINS]
    fake = model.discriminator(y)[pick, other]
    expected = (F.softplus(-real) + F.softplus(fake)).mean()
    assert math.isclose(found.players["discriminator"].item(), expected.item(), rel_tol=1e-5)
    assert torch.allclose(found.terms["real_logit"], real.mean((1, 2)), atol=1e-6)
    assert torch.allclose(model.logit(images(), DOMAINS), real.mean((1, 2)), atol=1e-6)
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(model.discriminator(x)[pick, DOMAINS].sum(), x)
    penalty = 0.5 * gradient.square().flatten(1).sum(1).mean() / real[0].numel()
    difference = (
        losses_of(model, step=4).players["discriminator"]
        - losses_of(model_of(judge="patches", r1=0.0), step=4).players["discriminator"]
    )
    assert math.isclose(difference.item(), 4 * 2 * penalty.item(), rel_tol=1e-2, abs_tol=1e-6)


def test_without_kl_codes_are_not_drawn():
    model = model_of(beta=0.0)
    first = model.losses(images(), 1, DOMAINS).terms["identity_error"]
    assert torch.equal(first, model.losses(images(), 1, DOMAINS).terms["identity_error"])


def test_codes_keep_places_and_decoding_depends_on_the_domain():
    model = model_of(code=3).eval()
    assert (model.code_shape, model.latent) == ((3, 5, 6), 90)
    z = torch.randn(2, 90)
    one, other = (model.decode(z, torch.full((2,), domain)) for domain in (0, 1))
    assert one.shape == (2, 1, 20, 22)
    assert not torch.equal(one, other)
    with torch.no_grad():
        model.decoder.tail.bias += 100  # the image is bounded, whatever the net gives
        assert model.decode(z, torch.tensor([0, 1])).max() <= 1
    moved = images().clone()
    moved[:, :, 0, 0] += 1
    change = (model.posterior_mean(moved) - model.posterior_mean(images())).view(5, 3, 5, 6)
    assert change[..., 0, 0].abs().sum() > 0


def test_noise_of_a_translation_is_the_posteriors():
    model = model_of().eval()
    x, to = images(), 1 - DOMAINS
    mu, logvar = model.posterior(x)
    noise = torch.randn(5, model.latent)
    expected = model.decode(mu + noise * torch.exp(0.5 * logvar), to)
    assert torch.equal(model.translate(x, to, noise), expected)
    assert torch.equal(model.translate(x, to), model.decode(mu, to))
    assert torch.equal(model.reconstruct(x, DOMAINS), model.decode(mu, DOMAINS))


def test_samples_come_from_codes_of_the_prior():
    model = model_of(classes=3)
    assert model.sample(4, torch.Generator().manual_seed(0)).shape == (4, 1, 20, 22)
    assert model.classes == 3


def test_nets_of_any_size():
    for levels, size in ((1, (17, 17)), (3, (33, 40))):
        encode = TranslationEncoder(3, 2, width=4, levels=levels)
        mean, _ = encode(torch.rand(1, 3, *size))
        decode = TranslationDecoder(3, 2, 2, width=4, levels=levels)
        made = decode(mean, torch.eye(2)[:1])
        assert made.shape[2] >= size[0]
        assert made.shape[3] >= size[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "two domains or more"),
        ({"classes": 0}, "two domains or more"),
        ({"cycle": -1.0}, "must not be negative"),
        ({"code": 0}, "code must be at least 1"),
        ({"levels": 0}, "levels must lie between"),
        ({"blocks": 0}, "blocks must be at least 1"),
        ({"loss": "wasserstein"}, "compares images of one domain"),
        ({"loss": "relativistic"}, "compares images of one domain"),
        ({"loss": "l2"}, "unknown loss"),
        ({"judge": "pixels"}, "unknown judge"),
        ({"beta": math.inf}, "beta"),
    ],
)
def test_what_cannot_be_built(options, message):
    with pytest.raises(UsageError, match=message):
        Translator((1, 20, 20), **options)
    with pytest.raises(UsageError, match="multiple of 4"):
        Translator((1, 20, 20), width=6)


def test_domains_must_be_said():
    with pytest.raises(UsageError, match=r"conditional \(classes=2\); give a label"):
        model_of().losses(images())
