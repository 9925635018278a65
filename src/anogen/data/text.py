"""Texts: read from files, and as numbers that need no vocabulary."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anogen.data.pictures import check_regular
from anogen.errors import DataError, first_line

MOST_TOKENS = 64
"""Of a text; what comes after them is left out."""
PIECE = 7
"""Bytes of a word in a token; longer words take several."""
MOST_LETTERS, LONGEST = 4096, 64
"""Of a text, and of a word of it; what comes after them is left out."""


def tokens_of(texts: Sequence[str]) -> NDArray[np.int64]:
    """Texts as tokens: words, or pieces of them, each of which is a number by itself.

    A token holds up to seven bytes of a word in UTF-8, the first one lowest, and in its highest
    byte 1 where a word begins and 2 where it goes on. So there is no vocabulary: words of any
    language can be told apart, and one that was never seen resembles those that are written alike.
    Small and capital letters are the same (as `str.casefold` has it), and so are characters that
    differ in form alone (NFKC); marks such as commas are words.

    Args:
        texts: any; an empty one has no token.

    Returns:
        int64 `[n, length]`, 0 after the end of a text; `length` is that of the longest text, at
        least 1 and at most 64. What comes later in a text is left out.

    Examples:
        >>> tokens_of(["A 7"]).tolist() == [[(1 << 56) + ord("a"), (1 << 56) + ord("7")]]
        True
        >>> tokens_of(["handwritten", ""]).shape
        (2, 2)
    """
    found = [_tokens(text)[:MOST_TOKENS] for text in texts]
    tokens = np.zeros((len(found), max([1, *map(len, found)])), np.int64)
    for row, numbers in zip(tokens, found, strict=True):
        row[: len(numbers)] = numbers
    return tokens


def words_of(text: str) -> list[str]:
    """The words of a text, as tokens tell them apart; of a very long one, its beginning.

    >>> words_of("A thin, red SEVEN")
    ['a', 'thin', ',', 'red', 'seven']
    """
    plain = unicodedata.normalize("NFKC", text[:MOST_LETTERS]).casefold()
    if plain.isascii():
        return re.findall(r"\w+|[^\w\s]", plain)
    groups = groupby(plain, _is_of_a_word)
    parts = [("".join(group), is_word) for is_word, group in groups]
    return [word for part, is_word in parts
            for word in ([part] if is_word else "".join(part.split()))]  # fmt: skip


def _is_of_a_word(letter: str) -> bool:
    """Whether a character is a letter, a digit, or a mark that goes with one."""
    return letter.isalnum() or letter in "_\u200d" or unicodedata.category(letter)[0] == "M"


def lines_of(path: Path) -> list[str]:
    """The texts in a file, one in each line; empty lines do not count.

    Raises:
        DataError: it cannot be read as text in UTF-8.
    """
    check_regular(path)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text ({first_line(error)})") from error
    return [line.strip() for line in lines if line.strip()]


def texts_in(path: Path) -> list[str]:
    """`lines_of`, of a file that must have some.

    Raises:
        DataError: it has none, too.
    """
    texts = lines_of(path)
    if not texts:
        raise DataError(f"{path}: there is no text in it")
    return texts


def _tokens(text: str) -> list[int]:
    return [number for word in words_of(text) for number in _pieces(word[:LONGEST])]


@lru_cache(1 << 16)
def _pieces(word: str) -> tuple[int, ...]:
    letters = word.encode(errors="replace")
    return tuple(
        int.from_bytes(letters[start : start + PIECE], "little")
        + ((2 if start else 1) << 8 * PIECE)
        for start in range(0, len(letters), PIECE)
    )
