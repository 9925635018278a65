"""Text of any origin, shown."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from anogen.printable import FORMULA, cell, printable

ANY = st.text(st.characters(codec=None), max_size=30)


@given(ANY)
def test_nothing_is_hidden(text):
    shown = printable(text)
    categories = {unicodedata.category(c) for c in shown if c not in "\u200c\u200d"}
    assert not categories & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode("utf-8")


@given(st.text(st.characters(categories=("L", "N", "P", "S")), max_size=30))
def test_what_can_be_seen_stays(text):
    assert printable(text) == text


@given(ANY)
def test_no_cell_is_a_formula(text):
    assert not cell(text).startswith(FORMULA)


def test_what_is_kept_stays():
    assert printable("a\nb\tc", keep="\n") == "a\nb\\tc"
    assert printable("\x07\x9b\u2066\udcff") == "\\x07\\x9b\\u2066\\udcff"
