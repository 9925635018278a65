"""Text from files and their names, made safe to show: on a terminal, in a table, on a page."""

import unicodedata

HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
"""Categories of characters that draw nothing, move the cursor or turn the direction of writing."""
JOINERS = frozenset("\u200c\u200d")
"""Format characters that words and emoji need."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would run."""


def printable(text: str, keep: str = "") -> str:
    r"""The text with everything that cannot be seen written as an escape.

    Args:
        text: of any origin.
        keep: characters that stay as they are, such as a line break.

    Examples:
        >>> print(printable("a\x1b[2Jb\u202e.png"))
        a\x1b[2Jb\u202e.png
        >>> printable("Überschär 7.png")
        'Überschär 7.png'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep
        or character in JOINERS
        or unicodedata.category(character) not in HIDDEN
        else character.encode("ascii", "backslashreplace").decode()
        if ord(character) > 0x7F
        else repr(character)[1:-1]
        for character in text
    )


def cell(text: str) -> str:
    """The text for a cell of a CSV file: printable, and no formula to a spreadsheet.

    What would begin a formula gets an apostrophe in front, which spreadsheets do not show.

    Source: OWASP, "CSV Injection".

    >>> cell("=1+2.png"), cell("a.png")
    ("'=1+2.png", 'a.png')
    """
    return ("'" if text.startswith(FORMULA) else "") + printable(text)
