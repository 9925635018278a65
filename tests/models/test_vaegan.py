"""Larsen's three players: who feels what, compared with gradients computed alone."""

import pytest
import torch
from torch.testing import assert_close

from anogen import VAEGAN, fit
from anogen.errors import UsageError
from anogen.models.adversarial import gradient_penalty
from anogen.training.step import make_players, set_gradients

SHAPE = (1, 16, 16)
X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))


def model(**arguments) -> VAEGAN:
    torch.manual_seed(0)
    return VAEGAN(SHAPE, **({"latent": 3, "width": 4} | arguments))


def losses(vaegan: VAEGAN, step: int | None = 1):
    torch.manual_seed(5)
    return vaegan.losses(X, step)


def gradients(vaegan: VAEGAN, step: int = 1) -> dict[str, torch.Tensor]:
    """Each player's gradient as the training step computes it, as one vector."""
    players = make_players(vaegan, 1e-3, (0.9, 0.999))
    set_gradients(players, losses(vaegan, step).players)
    return {
        player.name: torch.cat(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
                for p in player.parameters
            ]
        )
        for player in players
    }


def terms_gradient(part: str, term) -> torch.Tensor:
    """The gradient of a scalar made of a fresh model, by one part's parameters, alone."""
    vaegan = model()
    parameters = list(getattr(vaegan, part).parameters())
    found = torch.autograd.grad(term(vaegan), parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in found])


def test_the_encoder_feels_kl_and_features_and_no_adversary():
    def alone(vaegan):
        terms = losses(vaegan).terms
        return (terms["kl_nats"] + terms["feature_error"]).mean()

    assert_close(gradients(model())["encoder"], terms_gradient("encoder", alone))


def test_the_discriminator_feels_the_adversarial_loss_alone():
    def alone(vaegan):
        torch.manual_seed(5)
        mu, logvar = vaegan.posterior(X)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        fakes = vaegan.decode(torch.cat([z, torch.randn_like(z)]))
        logit = vaegan.logit(torch.cat([X, fakes.detach()]))
        soft = torch.nn.functional.softplus
        return soft(-logit[:6]).mean() + 0.5 * (soft(logit[6:12]) + soft(logit[12:])).mean()

    assert_close(gradients(model())["discriminator"], terms_gradient("discriminator", alone))


@pytest.mark.parametrize(
    ("change", "felt_by"),
    [
        ({"gamma": 5.0}, {"decoder"}),
        ({"beta": 5.0}, {"encoder"}),
        ({"pixel_weight": 1.0}, {"encoder", "decoder"}),
        ({"feature_layer": 0}, {"encoder", "decoder"}),
        ({"r1": 5.0}, {"discriminator"}),
        ({"loss": "saturating"}, {"decoder"}),
        ({"loss": "hinge"}, {"decoder", "discriminator"}),
    ],
)
def test_every_weight_changes_what_it_should_and_nothing_else(change, felt_by):
    plain, changed = gradients(model(), step=8), gradients(model(**change), step=8)
    differs = {name for name in plain if not torch.allclose(plain[name], changed[name])}
    assert differs == felt_by


def test_descending_the_decoder_s_loss_raises_the_discriminator_s_error():
    vaegan = model(gamma=0.0, r1=0.0)
    before = losses(vaegan).players
    parameters = list(vaegan.decoder.parameters())
    with torch.no_grad():
        found = torch.autograd.grad(before["decoder"], parameters)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter -= 0.01 * gradient / gradient.norm().clamp(min=1e-8)
    after = losses(vaegan).players
    assert after["decoder"] < before["decoder"]
    assert after["discriminator"] > before["discriminator"]


def test_the_feature_error_is_larsen_s():
    vaegan = model(feature_layer=1)
    torch.manual_seed(5)
    mu, logvar = vaegan.posterior(X)
    z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
    rebuilt = vaegan.decode(torch.cat([z, torch.randn_like(z)]))[:6]
    f, g = (vaegan.discriminator.features(x)[1] for x in (X, rebuilt))
    assert_close(losses(vaegan).terms["feature_error"], 0.5 * ((f - g) ** 2).sum((1, 2, 3)))


def test_gamma_means_the_same_at_every_layer():
    first, last = model(feature_layer=0), model(feature_layer=3)
    assert first.larsen_gamma() == pytest.approx(256 / (4 * 16 * 16))
    assert last.larsen_gamma() == pytest.approx(256 / (8 * 4 * 4))


@pytest.mark.parametrize(
    ("real", "fake", "rests"),
    [(9.0, -9.0, "discriminator"), (-1.0, 1.0, "decoder"), (0.0, 0.0, None), (9.0, 9.0, None)],
)
def test_the_gate_lets_the_stronger_player_rest(real, fake, rests, monkeypatch):
    vaegan = model(gate=0.35)
    everybody = {"encoder", "decoder", "discriminator"}
    outputs = torch.tensor([[real]] * 6 + [[fake]] * 12)
    features = vaegan._judge(X)[0].repeat(3, 1, 1, 1)
    monkeypatch.setattr(vaegan, "_judge", lambda x: (features, outputs))
    assert set(losses(vaegan).players) == everybody - {rests}
    assert set(losses(vaegan, None).players) == everybody


def test_it_trains_and_resumes(noise, tmp_path):
    options = {"batch_size": 16, "ema_decay": 0.9}
    whole = fit(model(), noise, tmp_path / "whole", epochs=3, **options)
    fit(model(), noise, tmp_path / "cut", epochs=1, **options)
    cut = fit(model(), noise, tmp_path / "cut", epochs=3, **options, resume=True)
    for name, value in whole.load_model("last").state_dict().items():
        assert torch.equal(cut.load_model("last").state_dict()[name], value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_layer": 4}, "feature_layer 4: the discriminator has layers 0 to 3"),
        ({"discriminator_batch_norm": True}, "judges each image alone"),
        ({"gamma": -1.0}, "must not be negative"),
        ({"gate": 0.9}, "gate must lie"),
        ({"loss": "wasserstein"}, "choose non_saturating"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        model(**options)


def test_a_lazy_penalty_counts_as_often_as_it_is_left_out():
    plain = losses(model(r1=0.0), 8).players["discriminator"]
    vaegan = model(r1=2.5, penalty_every=4)
    penalty = gradient_penalty(vaegan.logit, X).mean()
    found = losses(vaegan, 8).players["discriminator"]
    assert_close(found - plain, 4 * 2.5 * penalty, rtol=1e-3, atol=1e-6)
    assert_close(losses(vaegan, 9).players["discriminator"], plain)
    assert_close(losses(vaegan, None).players["discriminator"], plain)
