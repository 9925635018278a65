"""Recorded steps: a recorder that replays by calling stands for CUDA graphs."""

import copy

import pytest
import torch

from anogen import GAN, NCPVAE, VAE, VAEGAN, StyleGAN, Translator
from anogen.training import capture
from anogen.training.capture import CapturedSteps
from anogen.training.step import make_players, train_step

SHAPE, STEPS = (1, 16, 16), 30
MODELS = {
    "vae": lambda: VAE(SHAPE, 2, width=4),
    "warm-up": lambda: VAE(SHAPE, 2, width=4, kl_warmup_steps=8, capacity=3.0, capacity_steps=12),
    "ncpvae": lambda: NCPVAE(SHAPE, width=4, latent=2),
    "gan": lambda: GAN(SHAPE, 3, width=4, r1=1.0, discriminator_batch_norm=False, penalty_every=3),
    "vaegan": lambda: VAEGAN(
        SHAPE, 3, width=4, r1=1.0, discriminator_batch_norm=False, penalty_every=3
    ),
    "gated": lambda: VAEGAN(SHAPE, 3, width=4, gate=0.3),
    "stylegan": lambda: StyleGAN(
        SHAPE, 4, width=4, style=8, path_length=1.0, path_length_every=5, penalty_every=3
    ),
    "translator": lambda: Translator(SHAPE, 2, width=4, r1=1.0, penalty_every=3, critic_steps=2),
}


def trained(model, captured: bool, record=None):
    """Weights and losses after some steps on batches that differ, noise seeded by step."""
    model.train()
    players = make_players(model, 1e-3, (0.5, 0.9))
    recorded = []

    def by_calling(work):
        recorded.append(work)
        return work  # with the step of its recording, as a graph has it

    def do(x, label, step):
        return train_step(model, players, x, step, condition=label)

    step_of = CapturedSteps(do, model, record or by_calling) if captured else do
    losses = []
    for step in range(STEPS):
        for player in players:
            player.scale_rate(1 - step / STEPS)
        x = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(step))
        condition = model.condition.random(6, torch.Generator().manual_seed(step))
        torch.manual_seed(step)
        update = step_of(x, condition, step)
        losses.append({name: value.item() for name, value in update.losses.players.items()})
        assert bool(update.gradient_norms) == (step % 11 == 0)
    return model.state_dict(), losses, recorded


@pytest.mark.parametrize("name", MODELS)
def test_replayed_steps_are_the_steps_themselves(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    plain, losses, _ = trained(copy.deepcopy(model), captured=False)
    replayed, same, recorded = trained(copy.deepcopy(model), captured=True)
    assert losses == same
    assert all(torch.equal(plain[key], replayed[key]) for key in plain)
    assert bool(recorded) == (name != "gated")


def test_what_cannot_be_recorded_is_done_step_by_step(capfd):
    def refuses(work):
        raise RuntimeError("operation not permitted when stream is capturing")

    torch.manual_seed(0)
    model = MODELS["vae"]()
    plain, losses, _ = trained(copy.deepcopy(model), captured=False)
    same_weights, same, _ = trained(copy.deepcopy(model), captured=True, record=refuses)
    assert losses == same
    assert all(torch.equal(plain[key], same_weights[key]) for key in plain)
    assert capfd.readouterr().err.count("training without CUDA graphs") == 1


def test_a_model_with_losses_of_its_own_is_not_replayed_by_its_parent_s_word(monkeypatch):
    class Mine(VAE):
        def losses(self, x, step=None, condition=None):
            return super().losses(x, step, condition)

    class Described(Mine):
        recordable = True

        def phase(self, step):
            return "always"

    assert not Mine.recordable
    assert Described.recordable
    assert all(kind.recordable for kind in (VAE, NCPVAE, GAN, VAEGAN, StyleGAN))
    torch.manual_seed(0)
    assert trained(Mine(SHAPE, 2, width=4), captured=True)[2] == []
    monkeypatch.setattr(capture, "WARM_UP", 0)
    assert len(trained(Described(SHAPE, 2, width=4), captured=True)[2]) == 2  # norms, or none


def test_a_replayed_step_has_its_own_labels():
    seen = []

    def do(x, label, step):
        seen.append(label.clone())
        return

    steps = CapturedSteps(do, VAE(SHAPE, 2, width=4, classes=9), lambda work: work)
    for step in range(1, 9):
        steps(torch.zeros(2, *SHAPE), torch.tensor([step, 0]), step if step % 11 else 1)
    assert [int(label[0]) for label in seen] == list(range(1, 9))
