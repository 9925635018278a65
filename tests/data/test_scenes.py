"""Scenes show what their factors say, captions say what scenes show, and tests are kept apart."""

import re

import numpy as np
import pytest

from anogen import draw_scenes, load_data
from anogen.data.phrases import WORDS, say_scene
from anogen.data.scenes import GROUNDS, INKS, PLACES, Figure, Scene
from anogen.errors import UsageError


@pytest.fixture(scope="module")
def drawn():
    return draw_scenes(400, load_data("digits").train, combinations="seen")


def figures_of(scenes):
    return [figure for scene in scenes for figure in scene.figures]


def test_ink_lies_where_the_figure_is_said_to_be(drawn):
    images, scenes = drawn
    for pixels, scene in zip(images.pixels[:100].astype(float), scenes, strict=False):
        corner = pixels[:, 0, 0]
        marked = np.abs(pixels - corner[:, None, None]).sum(0) > 60
        assert marked.any()
        across, down = marked.any(0), marked.any(1)
        places = {figure.place for figure in scene.figures}
        third = images.shape[1] // 3
        assert ("left" in places) <= across[: third + 8].any()
        assert ("top" in places) <= down[: third + 8].any()
        if places == {"right"}:
            assert not across[: third // 2].any()
        if places == {"bottom"}:
            assert not down[: third // 2].any()


def test_inks_and_grounds_have_their_colours(drawn):
    images, scenes = drawn
    for pixels, scene in zip(images.pixels, scenes, strict=True):
        assert np.abs(pixels[:, 0, 0] - np.array(GROUNDS[scene.ground])).max() <= 10
        for figure in scene.figures:
            ink = np.array(INKS[figure.ink])[:, None, None]
            assert np.abs(pixels - ink).sum(0).min() < 150


def test_combinations_are_held_out(drawn):
    digits = load_data("digits")
    assert not any(scene.held_out for scene in drawn[1])
    unseen = draw_scenes(50, digits.test, combinations="unseen")[1]
    assert all(scene.held_out for scene in unseen)
    every = [Figure(digit, place, ink, "small", "upright", "thin")
             for digit in range(10) for place in PLACES for ink in INKS]  # fmt: skip
    kept = [figure for figure in every if not figure.held_out]
    assert 0.8 < len(kept) / len(every) < 0.9
    for of in (("digit", "place"), ("digit", "ink"), ("place", "ink")):
        pairs = {tuple(getattr(figure, name) for name in of) for figure in kept}
        assert pairs == {tuple(getattr(figure, name) for name in of) for figure in every}


def test_captions_name_the_digits_in_order(drawn):
    for captions, scene in zip(drawn[0].captions, drawn[1], strict=True):
        assert len(captions) == 3
        for caption in captions:
            said = re.findall(rf"\b(\d|{'|'.join(WORDS)})\b", caption)
            found = [int(word) if word.isdigit() else WORDS.index(word) for word in said]
            assert sorted(found) == sorted(figure.digit for figure in scene.figures)
            assert caption.count(scene.ground) <= 1 + sum(
                figure.ink == scene.ground for figure in scene.figures
            )


def test_an_order_that_is_said_is_that_of_the_picture():
    one = Figure(1, "left", "red", "normal", "upright", "normal")
    two = Figure(2, "right", "blue", "normal", "upright", "normal")
    scene, rng = Scene("white", (one, two)), np.random.default_rng(0)
    texts = [say_scene(scene, rng).text for _ in range(300)]
    for text in texts:
        plain = re.sub(r"\b(1|one)\b", "1", re.sub(r"\b(2|two)\b", "2", text))
        plain = re.sub(r"\b(?!left of|right of)[a-z-]+ (?=[12])", "", plain)
        if "left of" in plain:
            assert plain.index("1") < plain.index("left of") < plain.index("2")
        if "right of" in plain:
            assert plain.index("2") < plain.index("right of") < plain.index("1")
        if "from left to right" in plain:
            assert plain.index("1") < plain.index("2")
    assert len(set(texts)) > 200


def test_other_phrases_are_never_in_captions_for_training(drawn):
    rng = np.random.default_rng(0)
    known = {word for captions in drawn[0].captions for text in captions for word in text.split()}
    for scene in drawn[1][:50]:
        assert set(say_scene(scene, rng, others=True).text.replace(";", "").split()) - known


def test_the_same_seed_draws_the_same():
    digits = load_data("digits").train
    one, again, other = (draw_scenes(5, digits, seed=seed)[0] for seed in (3, 3, 4))
    assert one.sha256 == again.sha256 != other.sha256


def test_what_cannot_be_drawn_is_refused():
    digits = load_data("digits").train
    for wrong in ({"count": 0}, {"size": 8}, {"combinations": "none"}):
        with pytest.raises(UsageError):
            draw_scenes(**{"count": 1, "digits": digits} | wrong)
    with pytest.raises(UsageError, match="has no 1, 2, 3"):
        draw_scenes(1, digits[np.flatnonzero(digits.labels == 0)])
    with pytest.raises(UsageError, match="labelled digits"):
        draw_scenes(1, load_data("shapes").train[:10])


def test_the_named_set_needs_no_download():
    data = load_data("digits-scenes", limit=100)
    assert data.shape == (3, 48, 48)
    assert len(data.train) == 100
    assert data.train.captions is not None
    assert data.train.labels is None
