"""Models on captions: who learns what, what is drawn, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from anogen import (
    GAN,
    NCPVAE,
    VAE,
    VAEGAN,
    StyleGAN,
    draw_scenes,
    fit,
    images_from_array,
    load_data,
    split,
)
from anogen.errors import DataError, UsageError
from anogen.models.asking import Asking, likeness, sample_texts, spelt_out
from anogen.models.base import Model
from anogen.models.conditions import conditions_for, shown_to
from anogen.training.step import make_players, train_step

SHAPE = (3, 32, 32)
KINDS = {
    "VAE": lambda **more: VAE(SHAPE, latent=2, text=8, width=4, **more),
    "GAN": lambda **more: GAN(SHAPE, latent=2, text=8, width=4, **more),
    "VAEGAN": lambda **more: VAEGAN(SHAPE, latent=2, text=8, width=4, **more),
    "StyleGAN": lambda **more: StyleGAN(SHAPE, latent=4, style=8, text=8, width=4, **more),
}


@pytest.fixture(scope="module")
def scenes():
    images, _ = draw_scenes(80, load_data("digits").train, size=32)
    return split(images)


def made(kind, **more) -> Model:
    torch.manual_seed(0)
    return KINDS[kind](**more)


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_and_resumes_bit_for_bit(kind, scenes, tmp_path):
    options = {"batch_size": 16, "fit_sampler": False, "monitor": None}
    options |= {"monitor": "loss_vae"} if kind == "VAE" else {}
    whole = fit(made(kind), scenes, tmp_path / "whole", epochs=2, **options)
    fit(made(kind), scenes, tmp_path / "cut", epochs=1, **options)
    cut = fit(made(kind), scenes, tmp_path / "cut", epochs=2, **options, resume=True)
    for name, value in whole.load_model("last").state_dict().items():
        assert torch.equal(cut.load_model("last").state_dict()[name], value)


@pytest.mark.parametrize("kind", KINDS)
def test_one_player_teaches_the_reader_of_texts(kind, scenes):
    model = made(kind).train()
    players = make_players(model, 1e-2, (0.9, 0.99))
    owner = {"VAE": "vae", "VAEGAN": "decoder"}.get(kind, "discriminator")
    x = torch.rand(8, *SHAPE)
    condition = conditions_for(model, scenes.train[:8])
    losses = model.losses(x, 0, condition)
    weight = model.condition.head[1].weight
    for name, loss in losses.players.items():
        (gradient,) = torch.autograd.grad(loss, [weight], retain_graph=True, allow_unused=True)
        if name == owner:
            assert gradient.abs().max() > 0
    before = weight.detach().clone()
    train_step(model, players, x, 1, condition=condition)
    assert not torch.equal(weight, before)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_decide_what_is_drawn(kind):
    model = made(kind).eval()
    torch.nn.init.normal_(model.condition.words.table.weight)
    generator = torch.Generator()
    one, same, other = (
        model.sample(3, generator.manual_seed(1), text=text) for text in ("a 7", "a 7", "red")
    )
    assert torch.equal(one, same)
    assert (one - other).abs().max() > 0
    further = model.sample(3, generator.manual_seed(1), text="a 7", guidance=3.0)
    assert (one - further).abs().max() > 0
    assert model.sample(2).shape == (2, *SHAPE)  # of empty texts
    each = model.sample(2, generator.manual_seed(1), text=["a 7", "red"])
    assert torch.allclose(each[0], one[0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_of_several_fits_better(kind):
    model = made(kind).eval()
    texts = ["a 7", "two", "a red 3 on the left"]
    tokens = model.asked(texts)
    with torch.inference_mode():
        one, best = (
            model.likeness(sample_texts(model, texts, Asking(best_of=count)), tokens).diagonal()
            for count in (1, 6)
        )
    assert (best >= one - 1e-6).all()
    assert best.sum() > one.sum()


def _images(x):
    return images_from_array(x.numpy().astype(np.float64))


def test_another_images_text_is_to_be_refused():
    torch.manual_seed(0)
    x, condition = torch.rand(4, *SHAPE), torch.arange(1, 9).view(4, 2)
    plain, refusing = made("GAN"), made("GAN", mismatched=0.5)
    refusing.load_state_dict(plain.state_dict())
    losses = []
    for model in (plain, refusing):
        torch.manual_seed(1)
        losses.append(model.losses(x, None, condition).players)
    assert losses[0]["generator"] == losses[1]["generator"]
    assert losses[0]["discriminator"] != losses[1]["discriminator"]


def test_images_without_captions_are_refused(scenes, tmp_path, noise):
    bare = replace(scenes, train=replace(scenes.train, captions=None))
    with pytest.raises(DataError, match="has no captions, and this model takes texts"):
        fit(made("VAE"), bare, tmp_path / "bare", epochs=1)
    empty = np.empty(len(scenes.train), object)
    empty[:] = [()] * len(empty)
    nothing = replace(scenes, train=replace(scenes.train, captions=empty))
    with pytest.raises(DataError, match="has no captions"):
        fit(made("VAE"), nothing, tmp_path / "nothing", epochs=1)
    assert not (tmp_path / "bare").exists()
    assert shown_to(VAE((1, 16, 16), latent=2, width=4), noise.train) is noise.train


def test_requests_that_make_no_sense_are_refused():
    model = made("VAE").eval()
    for wrong, message in (
        ({"text": ["a"]}, "2 images, but 1 texts"),
        ({"text": "a", "condition": torch.zeros(2, 1, dtype=torch.int64)}, "not both"),
        ({"text": [1, 2]}, "a text is expected, found int"),
        ({"text": []}, "2 images, but 0 texts"),
        ({"text": "a", "guidance": float("nan")}, "guidance must be a finite number"),
    ):
        with pytest.raises(UsageError, match=message):
            model.sample(2, **wrong)
    plain = VAE(SHAPE, latent=2, width=4)
    with pytest.raises(UsageError, match="takes no texts"):
        plain.sample(2, text="a")
    with pytest.raises(UsageError, match="models that take texts"):
        plain.sample(2, guidance=2.0)
    with pytest.raises(UsageError, match="takes no texts"):
        likeness(plain, _images(torch.rand(2, *SHAPE)), torch.zeros(1, 1, dtype=torch.int64))
    with pytest.raises(UsageError, match="best_of"):
        Asking(best_of=0)
    with pytest.raises(UsageError, match="mismatched must lie"):
        made("GAN", mismatched=1.0)
    with pytest.raises(UsageError, match="not on both"):
        made("GAN", classes=3)


def test_braces_are_alternatives():
    assert spelt_out("a 7") == ["a 7"]
    assert spelt_out("{a, b} {1,2}") == ["a 1", "a 2", "b 1", "b 2"]
    for wrong in ("a {b", "a} b", "{a,{b}}"):
        with pytest.raises(UsageError, match="brace"):
            spelt_out(wrong)
    with pytest.raises(UsageError, match="stands for 1,024"):
        spelt_out("{a,b}" * 10)


def test_the_discriminator_reads_before_the_game_begins(scenes, tmp_path, capsys):
    model = made("GAN", contrast_first=0.5)
    before = [p.clone() for p in model.generator.parameters()]
    options = {"batch_size": 16, "monitor": "loss_discriminator"}
    run = fit(model, scenes, tmp_path / "run", epochs=2, **options)
    first, second = run.metrics
    assert "running_text_contrast_nats" in first
    assert "running_loss_generator" not in first
    assert "running_loss_generator" in second
    assert "nearly identical" not in capsys.readouterr().err
    after = run.load_model("last").generator.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    with pytest.raises(UsageError, match="contrast_first must lie"):
        made("GAN", contrast_first=1.0)
    assert GAN(SHAPE, latent=2, width=4, contrast_first=0.5).phase(0) != "contrast alone"


def test_patience_waits_for_the_game(scenes, tmp_path):
    model = made("GAN", contrast_first=0.6)
    options = {"batch_size": 32, "monitor": "loss_discriminator", "patience": 1}
    run = fit(model, scenes, tmp_path / "run", epochs=5, **options)
    assert len(run.metrics) > 3
    assert run.epoch_of(None) > 3


def test_a_game_that_has_begun_goes_on_when_more_epochs_are_asked_for(scenes, tmp_path):
    options = {"batch_size": 16, "monitor": "loss_discriminator"}
    fit(made("GAN", contrast_first=0.5), scenes, tmp_path / "run", epochs=2, **options)
    again = made("GAN", contrast_first=0.5)
    run = fit(again, scenes, tmp_path / "run", epochs=6, **options, resume=True)
    assert all("running_loss_generator" in row for row in run.metrics[1:])


def test_what_belongs_to_no_image_teaches_nobody_to_refuse():
    model = made("GAN", mismatched=0.5)
    texts = model.asked(["a", "a", "", "b"])
    assert model.condition.others(texts).tolist() == [True, False, True, False]
    labels = GAN(SHAPE, latent=2, width=4, classes=3).condition
    assert labels.others(torch.tensor([0, 0, 1])).tolist() == [True, False, True]


def test_captions_are_not_taken_for_labels(scenes, tmp_path):
    model = VAE(SHAPE, latent=2, width=4, classes=2)
    assert conditions_for(model, scenes.train) is None
    with pytest.raises(UsageError, match="has no labels"):
        fit(model, scenes, tmp_path / "run", epochs=1)
    with pytest.raises(UsageError, match=r"vectors of conditions are \[b, 8\]"):
        made("VAE").sample(2, condition=torch.zeros(2, 3))
    with pytest.raises(UsageError, match="contrast above 0"):
        made("VAE", contrast=0.0)
    with pytest.raises(UsageError, match="NCPVAE takes no texts"):
        NCPVAE(SHAPE, latent=2, text=8)
