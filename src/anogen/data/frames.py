"""Frames and arrays as estimators get them: what kinds of values they have."""

from typing import Any

import numpy as np

from anogen.data.tables import need_pyarrow
from anogen.errors import UsageError


def is_frame(x: Any) -> bool:
    """Whether something is a frame, of pandas or polars."""
    return hasattr(x, "columns") and hasattr(x, "dtypes")


def is_typed(x: Any) -> bool:
    """Whether a table has more than finite numbers in it."""
    if not is_frame(x):
        return isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.ndim == 2 and bool(
            np.isnan(x).any()
        )  # fmt: skip
    kinds = [getattr(kind, "kind", "") or _POLARS.get(str(kind).partition("(")[0], "O")
             for kind in x.dtypes]  # fmt: skip
    if any(kind not in "iufb" for kind in kinds):
        return True
    gaps = x.isna() if hasattr(x, "isna") else x.select(x.columns).null_count()
    return bool(np.asarray(gaps).any())


_POLARS = {
    "Int8": "i", "Int16": "i", "Int32": "i", "Int64": "i", "UInt8": "u", "UInt16": "u",
    "UInt32": "u", "UInt64": "u", "Float32": "f", "Float64": "f", "Boolean": "b",
}  # fmt: skip
"""Types of polars by the letters of NumPy's kinds."""


def named(rows: Any) -> Any:
    """Columns of an array as a table, with the names that scikit-learn gives them."""
    need_pyarrow("missing values")
    import pyarrow as pa

    return pa.table({f"x{index}": column for index, column in enumerate(rows.T)})


def refuse_dates(x: Any) -> None:
    """Raise a `UsageError` for a column of dates, which are numbers in a unit that nobody sees."""
    given: Any = x
    kinds: list[Any] = (
        list(given.dtypes) if hasattr(given, "dtypes") else [getattr(x, "dtype", None)]
    )
    if any(getattr(kind, "kind", "") in ("M", "m") for kind in kinds):
        raise UsageError(
            "the table has dates or times; give numbers instead, such as seconds since a day"
        )


def refuse_gaps(x: Any) -> None:
    """Raise a `UsageError` for missing values where there were none to learn from."""
    if is_typed(x):
        raise UsageError(
            "there are missing values, or text, where the rows of fit had none; fit on rows that "
            "have them too"
        )
