"""Diagnostics: gradient norms, samples of each epoch, signs of collapse; and a sanity run."""

import numpy as np
import pytest
import torch
from PIL import Image

from anogen import GAN, VAEGAN, Images, Splits, fit
from anogen.training.step import NORM_EVERY, make_players, train_step
from anogen.training.watch import ROWS, collapse_warnings, fixed_samples, grid

VARIED = np.random.default_rng(0).integers(0, 256, (32, 1, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("measured", "samples", "expected"),
    [
        ({}, VARIED, []),
        ({"accuracy_real": 0.995, "accuracy_fake": 0.999}, VARIED, ["saturated"]),
        ({"accuracy_real": 0.995, "accuracy_fake": 0.9}, VARIED, []),
        ({"accuracy_real": 0.7, "accuracy_fake": 0.7}, VARIED[:1].repeat(32, 0), ["identical"]),
        ({"classes": 2}, np.concatenate([VARIED[:2]] * 16), ["identical"]),
        ({"classes": 2}, VARIED, []),
    ],
)
def test_signs_of_collapse(measured, samples, expected):
    found = dict(collapse_warnings(measured, samples, int(measured.get("classes", 0))))
    assert list(found) == expected
    assert all("try " in text.lower() for text in found.values())


def test_a_collapse_is_said_once_while_it_lasts(noise, tmp_path, capsys):
    torch.manual_seed(0)
    model = GAN(noise.shape, 4, width=4, r1=0.0)
    rates = {"generator": 1e-12, "discriminator": 1e-2}
    fit(model, noise, tmp_path / "run", epochs=12, batch_size=16, learning_rate=rates)
    assert capsys.readouterr().err.count("warning: the discriminator is right on") == 1


def test_gradient_norms_are_those_of_each_player_s_own_loss(noise):
    torch.manual_seed(0)
    model = VAEGAN(noise.shape, 3, width=4)
    x = torch.rand(6, *noise.shape)
    torch.manual_seed(1)
    losses = model.losses(x, 0).players
    expected = {
        name: torch.cat([g.flatten() for g in torch.autograd.grad(
            losses[name], list(modules[0].parameters()), retain_graph=True, allow_unused=True,
            materialize_grads=True)]).norm().item()
        for name, modules in model.players().items()
    }  # fmt: skip
    players = make_players(model, 1e-3, (0.9, 0.999))
    torch.manual_seed(1)
    found = train_step(model, players, x, 0).gradient_norms
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        expected, rel=1e-4
    )
    assert train_step(model, players, x, 1).gradient_norms == {}
    assert train_step(model, players, x, NORM_EVERY, clip_gradient=1e-3).gradient_norms


def test_every_epoch_leaves_samples_of_the_same_latents(noise, tmp_path):
    torch.manual_seed(0)
    model = GAN(noise.shape, 4, width=4)
    run = fit(model, noise, tmp_path / "run", epochs=2, batch_size=16)
    files = sorted(path.name for path in (run.path / "samples").iterdir())
    assert files == ["epoch_0001.png", "epoch_0002.png"]
    with Image.open(run.path / "samples" / files[-1]) as image:
        kept = np.asarray(image)
    expected = grid(fixed_samples(run.load_model("last"), 0, noise.validation))[:, :, 0]
    assert kept.shape == (ROWS * 16, 8 * 16)
    assert np.abs(kept.astype(int) - expected).mean() < 1  # training may have used bfloat16
    row = run.metrics[-1]
    assert row["running_gradient_norm_generator"] > 0
    assert 0 <= row["validation_accuracy_fake"] <= 1


def ring(count: int) -> Images:
    """Eight Gaussians on a ring, as images of 1×2 pixels."""
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * rng.integers(0, 8, count) / 8
    points = 0.5 + 0.35 * np.stack([np.cos(angle), np.sin(angle)], 1)
    points += rng.normal(0, 0.02, points.shape)
    return Images((points * 255).round().astype(np.uint8)[:, None, None], "ring")


def test_a_gan_covers_all_modes_of_a_ring_of_gaussians(tmp_path):
    data = ring(13_000)
    torch.manual_seed(0)
    model = GAN((1, 1, 2), latent=8, r1=1.0, penalty_every=4, width=8, batch_norm=False)
    fit(model, Splits(data[:12_800], data[12_800:12_900], data[12_900:]), tmp_path / "run",
        epochs=30, batch_size=256, betas=(0.5, 0.99), precision="float32")  # fmt: skip
    points = model.sample(2000, torch.Generator().manual_seed(1)).flatten(1)
    angle = 2 * torch.pi * torch.arange(8) / 8
    modes = 0.5 + 0.35 * torch.stack([angle.cos(), angle.sin()], 1)
    nearest = torch.cdist(points, modes).min(1)
    close = nearest.values < 0.08
    shares = torch.bincount(nearest.indices[close], minlength=8) / len(points)
    assert close.float().mean() > 0.5
    assert shares.min() > 0.02


def test_samples_that_are_alike_are_seen_to_be_however_varied_their_pixels():
    stripes = np.zeros((6, 1, 8, 8), np.uint8)
    stripes[:, :, ::2] = 255
    assert [name for name, _ in collapse_warnings({}, stripes)] == ["identical"]
