"""Texts as tokens, and the files that they are read from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anogen.data.text import MOST_TOKENS, _pieces, lines_of, texts_in, tokens_of, words_of
from anogen.errors import DataError


def test_capitals_and_forms_do_not_count():
    assert np.array_equal(tokens_of(["A Red ﬁve"]), tokens_of(["a red five"]))


@given(st.text(st.characters(categories=("Ll", "Nd")), min_size=1, max_size=20),
       st.text(st.characters(categories=("Ll", "Nd")), min_size=1, max_size=20))  # fmt: skip
def test_different_words_have_different_tokens(one, other):
    same = words_of(one) == words_of(other)
    tokens = tokens_of([one, other])
    assert np.array_equal(tokens[0], tokens[1]) == same


def test_long_words_take_several_tokens():
    tokens = tokens_of(["handwritten", "handwrit ten"])
    assert (tokens != 0).sum(1).tolist() == [2, 3]
    assert tokens[0, 0] == tokens[1, 0]
    assert tokens[0, 1] != tokens[1, 1]  # the same letters, but going on


def test_what_no_picture_needs_has_an_end():
    assert tokens_of(["a " * 500]).shape == (1, MOST_TOKENS)
    assert tokens_of([""]).tolist() == [[0]]
    assert tokens_of([]).shape == (0, 1)
    assert (tokens_of(["你好 سلام 🙂"]) != 0).sum() == 4  # six bytes, eight bytes, and a sign


def test_lines_of_a_file(tmp_path):
    file = tmp_path / "captions.txt"
    file.write_text("one\n\n  two \n", encoding="utf-8-sig")
    assert lines_of(file) == texts_in(file) == ["one", "two"]
    file.write_text("\n")
    assert lines_of(file) == []
    with pytest.raises(DataError, match="no text in it"):
        texts_in(file)
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="cannot be read as text"):
        lines_of(file)
    with pytest.raises(DataError, match="No such file"):
        lines_of(tmp_path / "none.txt")


def test_marks_go_with_their_letters():
    assert words_of("हिन्दी, नमस्ते") == ["हिन्दी", ",", "नमस्ते"]
    assert words_of("año — 7") == ["año", "—", "7"]


def test_long_words_and_texts_leave_nothing_behind():
    tokens = tokens_of(["x" * 10_000_000])
    assert (tokens != 0).sum() == -(-64 // 7)
    assert _pieces.cache_info().maxsize is not None
