"""Whether pictures show what texts say: by a judge, by a reader of scenes, and who is compared."""

import numpy as np
import pytest
import torch

from anogen import VAE, draw_scenes, evaluate_texts, images_from_array, load_data, split
from anogen.data.phrases import Said
from anogen.data.scenes import Figure, Scene
from anogen.errors import DataError, UsageError
from anogen.evaluation import texts
from anogen.evaluation.scenes import Read, SceneReader, read, rightness, truth
from anogen.models.asking import Asking


def test_the_nearest_caption_shares_rare_words():
    known = ["a red seven on the left", "a blue two on the right", "a red two on the left"]
    assert texts.nearest_captions(["seven, blue", "a red 2 left"], known)[0] == 0
    assert texts.nearest_captions(["a blue two"], known).tolist() == [1]


@pytest.fixture
def colours():
    """Flat pictures of four colours, with captions that name them, and more that say nothing."""
    names = {"black": 0, "dark": 80, "light": 170, "white": 255}
    chosen = [*names] * 40
    pixels = np.stack([np.full((1, 16, 16), names[name], np.uint8) for name in chosen])
    captions = [
        f"{name} {word}" for name, word in zip(chosen, ("x", "y", "z", "w", "v") * 32, strict=True)
    ]
    return split(images_from_array(pixels, captions=captions))


def test_the_judge_tells_pictures_that_show_their_text(colours, monkeypatch):
    monkeypatch.setattr(texts, "MIN_STEPS", 150)
    monkeypatch.setattr(texts, "AMONG", 4)
    torch.manual_seed(0)
    model = VAE((1, 16, 16), latent=2, width=4, text=4)
    result = evaluate_texts(model, colours, how=Asking(seed=1))
    assert result["texts"] == len(colours.test)
    assert result["r_precision_floor"] > 0.3  # words that say nothing are between
    assert result["r_precision_low"] <= result["r_precision"] <= result["r_precision_high"]
    assert 0 <= result["variety"] < result["variety_floor"] + 0.2
    again = evaluate_texts(model, colours, how=Asking(seed=1))
    assert result == again


def test_without_captions_nothing_can_be_judged(noise):
    model = VAE((1, 16, 16), latent=2, width=4, text=4)
    with pytest.raises(DataError, match="has no captions"):
        evaluate_texts(model, noise)
    data = split(images_from_array(np.zeros((30, 16, 16)), captions=["a"] * 30))
    with pytest.raises(UsageError, match="takes no texts"):
        evaluate_texts(VAE((1, 16, 16), latent=2, width=4), data)
    with pytest.raises(DataError, match="the same"):
        evaluate_texts(model, data)


def test_what_is_read_counts_at_its_place():
    seven = Figure(7, "left", "red", "small", "upright", "thin")
    two = Figure(2, "right", "blue", "small", "upright", "thin")
    scenes = [Scene("white", (seven, two)), Scene("white", (seven,))]
    said = [Said("", True, (True, False)), Said("", False, (True,))]
    seen = truth(scenes)
    right = rightness(seen, scenes, said)
    assert [right[name] for name in ("digits_right", "places_right", "inks_right")] == [1, 1, 1]
    moved = Read(seen.digits.copy(), seen.inks.copy())
    moved.digits[1] = np.roll(moved.digits[1], 1)  # its caption names no place
    moved.inks[1] = np.roll(moved.inks[1], 1)
    moved.digits[0, 3] = 9  # the two is read as a nine
    wrong = rightness(moved, scenes, said)
    assert wrong["digits_right"] == pytest.approx(2 / 3)
    assert (wrong["places_right"], wrong["inks_right"]) == (1, 1)
    nothing = Read(np.full((2, 5), 10), np.zeros((2, 5), np.int64))
    assert {rightness(nothing, scenes, said)[n] for n in ("digits_right", "inks_right")} == {0}


def test_a_reader_reads_every_picture():
    images, scenes = draw_scenes(5, load_data("digits").train)
    seen = read(SceneReader(48).eval(), images)
    assert seen.digits.shape == seen.inks.shape == truth(scenes).digits.shape
