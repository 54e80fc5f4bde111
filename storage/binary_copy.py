"""PostgreSQL's binary COPY, encoded by numpy: all rows at once, where a driver converts value by value.

Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, Table

from storage.columns import UtcDateTime

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no header extension
_TRAILER = b"\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WIRE_TYPES = {BigInteger: ">i8", Integer: ">i4", Double: ">f8", Boolean: "?", UtcDateTime: ">i8"}
"""BigInteger comes before Integer, of which it is a subclass."""


def copy_moment(moment: datetime) -> int:
    """A timestamptz as COPY sends it: microseconds since 2000. Raises TypeError for a naive datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def copy_column(values: Iterable[Any]) -> NDArray[Any]:
    """Values of a column, (N,); datetimes become `copy_moment`s."""
    return np.array([copy_moment(value) if isinstance(value, datetime) else value for value in values])


def encode_copy(table: Table, columns: Mapping[str, NDArray[Any]]) -> bytes:
    """What `COPY table (columns) FROM STDIN (FORMAT BINARY)` takes for these columns, each (N,).

    Times are `copy_moment`s; no value is NULL. Raises KeyError for a column of a type without an encoding.
    """
    layout = [("fields", ">i2")]
    for name in columns:
        layout += [(f"{name} length", ">i4"), (name, _wire_type(table.columns[name]))]
    rows = np.empty(len(next(iter(columns.values()))), np.dtype(layout))
    rows["fields"] = len(columns)
    for name, values in columns.items():
        rows[f"{name} length"] = rows.dtype[name].itemsize
        rows[name] = values
    return b"".join((_SIGNATURE, rows.tobytes(), _TRAILER))


def _wire_type(column: Column[Any]) -> str:
    for kind, wire in _WIRE_TYPES.items():
        if isinstance(column.type, kind):
            return wire
    raise KeyError(f"{column}: no binary form of {column.type} is known here")
