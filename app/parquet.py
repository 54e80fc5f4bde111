"""Rows as a Parquet file: the columns of `detection_history` get types by name, others by what they hold."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import chain, islice
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from app.exports import require_different
from core.errors import QueryError

ROWS_PER_GROUP = 50_000
"""A few megabytes of memory, and readers can skip groups by time."""
BATCH_ROWS = 5_000
"""Held as Python's objects."""
_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")
"""How SQLite keeps times: UTC."""
_MOMENT = pa.timestamp("us", tz="UTC")
_KNOWN = {
    **dict.fromkeys(("camera", "class_name", "model"), pa.string()),
    "captured_at": _MOMENT,
    **dict.fromkeys(("score", "x", "y", "width", "height", "area", "latency_ms"), pa.float64()),
    **dict.fromkeys(("frame_width", "frame_height"), pa.int32()),
    **dict.fromkeys(("frame_index", "track_id"), pa.int64()),
}
"""Columns of `detection_history`; the same also when there are no rows, or none of the first has a value."""


class _Outbox(io.RawIOBase):
    """A file that is taken away piece by piece while it is written."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._written

    def take(self) -> bytes:
        """What was written since the last time."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def make_parquet(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """A file in pieces of a row group. The first group decides the types.

    Raises QueryError for a later value of another type, and for two columns of one name.
    """
    require_different(columns, "parquet")
    remaining, outbox = iter(rows), _Outbox()
    head = list(islice(remaining, BATCH_ROWS if set(columns) <= _KNOWN.keys() else ROWS_PER_GROUP))
    schema = _schema_of(columns, head)
    batches = _batches(schema, chain(head, remaining))
    del head  # it is let go of as soon as it has become columns
    with parquet.ParquetWriter(outbox, schema, compression="zstd") as writer:
        while group := list(islice(batches, ROWS_PER_GROUP // BATCH_ROWS)):
            writer.write_table(pa.Table.from_batches(group), row_group_size=ROWS_PER_GROUP)
            yield outbox.take()
    yield outbox.take()


def _schema_of(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    return pa.schema([(name, _type_of(name, column)) for name, column in zip(columns, values, strict=True)])


def _batches(schema: Any, rows: Iterator[Sequence[Any]]) -> Iterator[Any]:
    """The rows as columns, a tenth of the size that they have as Python's objects."""
    while batch := list(islice(rows, BATCH_ROWS)):
        columns = zip(schema, zip(*batch, strict=True), strict=True)
        yield pa.RecordBatch.from_arrays([_array(field, column) for field, column in columns], schema=schema)


def _type_of(name: str, column: Sequence[Any]) -> Any:
    """By name where the values allow it, else by the values; text where there are none."""
    found = [value for value in column if value is not None]
    known = _KNOWN.get(name)
    if known is not None and all(_fits(value, known) for value in found):
        return known
    if not found:
        return pa.string()
    return next((kind for check, kind in _KINDS if all(map(check, found))), pa.string())


def _fits(value: Any, kind: Any) -> bool:
    if kind == _MOMENT:
        return _is_moment(value)
    if kind == pa.string():
        return isinstance(value, str)
    if kind == pa.float64():
        return _is_number(value)
    limit = 2 ** (kind.bit_width - 1)
    return _is_integer(value) and -limit <= value < limit


def _is_moment(value: Any) -> bool:
    if isinstance(value, datetime):
        return value.tzinfo is not None
    return isinstance(value, str) and _STAMP.fullmatch(value) is not None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_KINDS: list[tuple[Callable[[Any], bool], Any]] = [
    (lambda value: isinstance(value, bool), pa.bool_()),
    (_is_integer, pa.int64()),
    (_is_number, pa.float64()),
    (_is_moment, _MOMENT),
    (lambda value: isinstance(value, datetime), pa.timestamp("us")),
    (lambda value: isinstance(value, date), pa.date32()),
    (lambda value: isinstance(value, bytes | memoryview), pa.binary()),
]
"""The first that all values of a column are; what is none of them becomes text."""


def _array(field: Any, column: Sequence[Any]) -> Any:
    if field.type == _MOMENT:
        column = [_moment(value) for value in column]
    elif field.type == pa.float64():
        column = [float(value) if isinstance(value, int) else value for value in column]
    elif field.type == pa.string():
        column = [value if value is None or isinstance(value, str) else str(value) for value in column]
    try:
        return pa.array(column, field.type)
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        raise QueryError(
            f"parquet: {field.name}: expected {field.type}, as in the first {ROWS_PER_GROUP} rows, "
            f"got another type ({str(error).splitlines()[0]}); CAST it"
        ) from error


def _moment(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return datetime.fromisoformat(f"{value}+00:00")
