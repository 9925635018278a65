"""The cells of a column, an Arrow array, as numbers, dates and text."""

import math
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.data.tables import compute

Values = NDArray[np.float64]
MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))
"""Cells of a text file that say that a value is missing, whatever their case."""
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"
DATE = r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?$"


def plain_array(array: Any) -> Any:
    """One array of a plain type: what is encoded as a dictionary is taken apart."""
    import pyarrow as pa

    pc = compute()
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if isinstance(whole, pa.ChunkedArray):  # of no chunks
        whole = pa.array([], whole.type)
    return pc.cast(whole, whole.type.value_type) if pa.types.is_dictionary(whole.type) else whole


def type_of(kind: Any) -> str:
    """What a column's type says of it: text, number, truth, date or other."""
    from pyarrow import types

    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_boolean(kind):
        return "truth"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "date"
    return "text" if types.is_null(kind) else "other"


def missing_in(array: Any) -> NDArray[np.bool_]:
    """Where there is no value: bool `[n]`."""
    import pyarrow as pa

    pc = compute()
    kind = type_of(array.type)
    if kind == "number" and pa.types.is_floating(array.type):
        absent = pc.or_kleene(pc.is_null(array), pc.is_nan(array))
        absent = pc.fill_null(absent, True)
    elif kind == "text" and not pa.types.is_null(array.type):
        trimmed = pc.utf8_lower(pc.utf8_trim_whitespace(array))
        told = pa.array(sorted(MISSING), trimmed.type)
        absent = pc.or_(pc.is_null(array), pc.is_in(pc.fill_null(trimmed, ""), told))
    else:
        absent = pc.is_null(array)
    return np.asarray(absent.to_numpy(zero_copy_only=False), bool)


def numbers_in(array: Any) -> Values:
    """The values as numbers, NaN where one is none: float64 `[n]`."""
    import pyarrow as pa

    pc = compute()
    if type_of(array.type) != "text":
        return np.asarray(
            pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64
        )
    trimmed = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    like = pc.match_substring_regex(trimmed, NUMBER)
    valid = pc.if_else(pc.fill_null(like, False), trimmed, None)
    return np.asarray(pc.cast(valid, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def dates_in(array: Any) -> NDArray[np.datetime64]:
    """The values as dates, NaT where one is none; a zone is passed over: datetime64[us] `[n]`."""
    import pyarrow as pa

    pc = compute()
    if type_of(array.type) == "date":
        if pa.types.is_timestamp(array.type) and array.type.tz is not None:
            array = pc.local_timestamp(array)
        whole = pc.cast(array, pa.timestamp("us"), safe=False)
    else:
        trimmed = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
        trimmed = pc.replace_substring_regex(trimmed, r"(Z|[+-]\d\d:?\d\d)$", "")
        like = pc.fill_null(pc.match_substring_regex(trimmed, DATE), False)
        valid = pc.if_else(like, trimmed, None)
        try:
            whole = pc.cast(valid, pa.timestamp("us"))
        except pa.ArrowInvalid:  # a day that no month has
            whole = pa.array(
                [_date_or_none(text) for text in valid.to_pylist()], pa.timestamp("us")
            )
    return np.asarray(whole.to_numpy(zero_copy_only=False), "datetime64[us]")


def _date_or_none(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def texts_in(array: Any) -> Any:
    """The values as text, without spaces around them; true and false in lower case."""
    import pyarrow as pa

    pc = compute()
    plain = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    lower = pc.utf8_lower(plain)
    truth = pc.is_in(lower, pa.array(["true", "false"]))
    return pc.if_else(truth, lower, plain)


def shown_cell(value: Any) -> str:
    """A cell as text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.9g}"
    text = str(value).strip()
    return "missing" if text.lower() in MISSING else text
