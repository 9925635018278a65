"""Texts to vectors: order counts, company does not."""

import pytest
import torch
from torch.testing import assert_close

from anogen.data import text as data_text
from anogen.data.text import tokens_of
from anogen.errors import UsageError
from anogen.nets import text as nets_text
from anogen.nets.condition import condition_on
from anogen.nets.text import TextCondition, Words, told_apart


def tokens(*texts):
    return torch.from_numpy(tokens_of(texts))


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = TextCondition(8)
    torch.nn.init.normal_(encoder.words.table.weight)
    return encoder


def test_a_text_has_the_same_vector_in_any_company(encoder):
    texts = ["a red 7 on the left of a blue 2", "a 3", "", "red"]
    together = encoder(tokens(*texts))
    for text, vector in zip(texts, together, strict=True):
        assert_close(encoder(tokens(text))[0], vector)
    assert_close(encoder(torch.nn.functional.pad(tokens("a 3"), (0, 20)))[0], together[1])


def test_order_counts(encoder):
    one, other = encoder(tokens("a 7 left of a 2", "a 2 left of a 7"))
    assert (one - other).abs().max() > 0.01


def test_an_unknown_word_is_known_by_its_letters():
    words = Words()
    assert not words.table.weight.any()
    seven, sevn, zebra = words(tokens("seven sevn zebra")[0])
    assert (seven - sevn).norm() > 0
    assert (seven - zebra).norm() > 0


def test_vectors_are_taken_as_they_are(encoder):
    vectors = torch.randn(2, 8)
    assert encoder(vectors) is vectors
    assert_close(encoder.guided(vectors, 1.0), vectors)
    empty = encoder(tokens(""))
    assert_close(encoder.guided(vectors, 2.0), 2 * vectors - empty)
    assert_close(encoder.guided(vectors, 0.0), empty.expand(2, -1))


def test_told_apart_is_the_mean_of_two_cross_entropies():
    torch.manual_seed(0)
    cosines, texts = torch.rand(3, 3), tokens("a", "b", "c")
    logits, own = 16 * cosines, torch.arange(3)
    cross = torch.nn.functional.cross_entropy
    expected = (cross(logits, own, reduction="none") + cross(logits.T, own, reduction="none")) / 2
    assert_close(told_apart(cosines, texts), expected)


def test_the_same_text_twice_is_no_mistake():
    cosines = torch.ones(2, 2)
    assert_close(told_apart(cosines, tokens("a", "a")), torch.zeros(2))
    assert told_apart(cosines, tokens("a", "b")).min() > 0.5


def test_an_empty_text_is_nobodys():
    texts = tokens("a", "b", "")
    cosines = torch.rand(3, 3)
    alone = told_apart(cosines[:2, :2], texts[:2])
    assert_close(told_apart(cosines, texts), torch.cat([alone, torch.zeros(1)]))


def test_nets_and_data_agree_on_what_a_token_is():
    assert (nets_text.MOST_TOKENS, nets_text.PIECE) == (data_text.MOST_TOKENS, data_text.PIECE)


def test_what_is_no_text_is_refused(encoder):
    with pytest.raises(UsageError, match="takes texts"):
        encoder(None)
    with pytest.raises(UsageError, match="length at most 64"):
        encoder(torch.zeros(2, 65, dtype=torch.int64))
    with pytest.raises(UsageError, match="length at most 64"):
        encoder(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UsageError, match="not on both"):
        condition_on(3, 8)
    with pytest.raises(UsageError, match="negative"):
        condition_on(0, -1)
    with pytest.raises(UsageError, match="models that take texts"):
        condition_on(3).guided(None, 2.0)
