"""Captions: beside pictures, in archives, from arrays; and which one a batch has."""

import numpy as np
import pytest
import torch
from PIL import Image

from anogen import images_from_array, load_data
from anogen.data.batches import Shuffled, alike_together, in_order
from anogen.data.images import Images
from anogen.data.text import tokens_of
from anogen.errors import DataError

CPU = torch.device("cpu")
WHITE = np.full((6, 16, 16), 255, np.uint8)


def test_text_files_beside_pictures(tmp_path, capsys):
    for number in range(30):
        Image.new("L", (16, 16), number * 8).save(tmp_path / f"{number:02d}.png")
        if number:
            (tmp_path / f"{number:02d}.txt").write_text(f"grey {number}\nshade {number}\n")
    (tmp_path / "notes.txt").write_text("nothing of a picture")
    train = load_data(tmp_path).train
    said = capsys.readouterr().err
    for what in ("58 captions", "1 of 30 pictures without a caption", ".txt: 1"):
        assert what in said
    assert train.captions is not None
    for pixels, texts in zip(train.pixels[:], train.captions, strict=True):
        number = int(pixels[0, 0, 0]) // 8
        assert texts == ((f"grey {number}", f"shade {number}") if number else ())


def test_text_files_beside_pictures_in_folders_that_are_labels(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(10):
            Image.new("L", (16, 16), number).save(tmp_path / label / f"{number}.png")
            (tmp_path / label / f"{number}.txt").write_text(f"{label} {number}")
    train = load_data(tmp_path).train
    assert train.classes == ("a", "b")
    for label, texts in zip(train.labels, train.captions, strict=True):
        assert texts[0].startswith("ab"[label])


def test_a_text_file_that_is_none_is_named(tmp_path):
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match=r"a\.txt: cannot be read as text"):
        load_data(tmp_path)


def test_captions_of_archives_and_arrays(tmp_path):
    texts = [f"picture {number}" for number in range(40)]
    pixels = np.arange(40, dtype=np.uint8).repeat(256).reshape(40, 16, 16)
    np.savez(tmp_path / "all.npz", images=pixels, captions=np.array(texts))
    train = load_data(tmp_path / "all.npz").train
    for image, own in zip(train.pixels[:], train.captions, strict=True):
        assert own == (f"picture {image[0, 0, 0]}",)
    images = images_from_array(WHITE, captions=["one", ["two", "zwei"], [], "3", "4", "5"])
    assert images.captions.tolist() == [
        ("one",), ("two", "zwei"), (), ("3",), ("4",), ("5",)
    ]  # fmt: skip
    with pytest.raises(DataError, match="6 images but 1 captions"):
        images_from_array(WHITE, captions=["one"])
    gaps = images_from_array(WHITE, captions=[None, float("nan"), "a", "b", "c", "d"])
    assert gaps.captions.tolist()[:3] == [(), (), ("a",)]
    with pytest.raises(DataError, match="caption of image 0 is no text: 7"):
        images_from_array(WHITE, captions=[7] * 6)
    with pytest.raises(DataError, match="caption of image 2 is no text"):
        images_from_array(WHITE, captions=["a", "b", [7], "c", "d", "e"])


def captioned(count=400):
    pixels = np.zeros((count, 1, 16, 16), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.divmod(np.arange(count), 256)
    return images_from_array(pixels, captions=[[f"a{n}", f"b{n}"] for n in range(count)])


def test_a_batch_has_one_caption_of_each_and_now_and_then_none():
    images = captioned()
    batches = Shuffled(images, 400, seed=1, device=CPU)
    x, tokens = next(iter(batches.epoch(0)))
    high, low = (x[:, 0, 0, :2] * 255).round().long().unbind(1)
    order = (256 * high + low).tolist()
    assert sorted(order) == list(range(400))
    assert order != sorted(order)
    either = [{tuple(row) for row in tokens_of([f"a{n}", f"b{n}"]).tolist()} for n in order]
    rows = [tuple(row) for row in tokens.tolist()]
    empty = sum(not any(row) for row in rows)
    first = sum(
        row == tuple(tokens_of([f"a{n}"])[0].tolist()) for row, n in zip(rows, order, strict=True)
    )
    assert all(row in own or not any(row) for row, own in zip(rows, either, strict=True))
    assert 20 < empty < 65
    assert 120 < first < 240


def test_an_epoch_is_the_same_from_any_position_and_another_one_differs():
    batches = Shuffled(captioned(64), 16, seed=0, device=CPU)
    whole, rest = list(batches.epoch(2)), list(batches.epoch(2, start=2))
    assert all(torch.equal(a.condition, b.condition) for a, b in zip(whole[2:], rest, strict=True))
    assert not torch.equal(whole[0].condition, next(iter(batches.epoch(3))).condition)


def test_in_order_the_first_caption_counts():
    images = captioned(10)
    (batch,) = in_order(images, CPU)
    assert torch.equal(batch.condition, torch.from_numpy(tokens_of([f"a{n}" for n in range(10)])))


def test_labels_come_before_captions():
    images = Images(WHITE[:, None], "white", np.zeros(6, np.int64), ("a",),
                    captioned(6).captions)  # fmt: skip
    assert next(iter(in_order(images, CPU))).condition.ndim == 1


def test_texts_that_share_words_follow_one_another():
    rng = np.random.default_rng(0)
    words = [("red", "blue"), ("left", "right"), ("big", "small"), ("thin", "thick")]
    texts = [" ".join(str(rng.choice(pair)) for pair in words) for _ in range(512)]
    tokens = tokens_of(texts)
    order = alike_together(tokens, np.random.default_rng(1))
    assert sorted(order) == list(range(512))
    common = [len({texts[row] for row in order[start : start + 16]}) for start in range(0, 512, 16)]
    assert np.mean(common) < 3  # of sixteen, where each would be there once
    assert alike_together(np.zeros((5, 3), np.int64), rng).shape == (5,)
