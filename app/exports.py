"""Rows as files: CSV, JSON, NDJSON and Parquet, made piece by piece in constant memory."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import IO, Any

from app.times import format_iso
from core.errors import QueryError

Row = Sequence[Any]

PARQUET_ROWS = 50_000
"""Rows per row group: a few megabytes of memory, and readers can skip groups by time."""
BATCH_ROWS = 5_000

PIECE_BYTES = 64 * 1024


class Format(StrEnum):
    """How rows come out."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"


def choose_format(chosen: Format | None, output: Path | None) -> Format:
    """The format asked for, else the one that the output's name ends in, else a table.

    Raises QueryError for a table into a file and for Parquet onto a terminal.
    """
    endings = {f".{kind.value}": kind for kind in Format if kind is not Format.TABLE}
    if chosen is None:
        if output is None:
            return Format.TABLE
        if output.suffix.lower() not in endings:
            raise QueryError(
                f"-o {output}: expected a name ending in {', '.join(endings)}, or a --format; got neither"
            )
        return endings[output.suffix.lower()]
    if chosen is Format.TABLE and output is not None:
        raise QueryError(f"-o {output}: expected --format csv, json, ndjson or parquet for a file, got table")
    if chosen is Format.PARQUET and output is None and sys.stdout.isatty():
        raise QueryError("--format parquet: expected -o FILE or a pipe, got a terminal")
    return chosen


def write_rows(format: Format, columns: Sequence[str], rows: Iterable[Row], output: Path | None) -> int:
    """Writes rows to a file or standard output and returns how many. Raises QueryError for a bad file."""
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    with _opened(output) as stream:
        for piece in make_file(format, columns, counted()):
            stream.write(piece)
    return count


def make_file(format: Format, columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
    """A file of these rows, in pieces of some PIECE_BYTES (Parquet: of a row group) as the rows come in."""
    makers = {
        Format.CSV: _make_csv,
        Format.JSON: _make_json,
        Format.NDJSON: _make_ndjson,
        Format.PARQUET: _make_parquet,
    }
    return makers[format](columns, rows)


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that takes its name only once it is whole."""
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    in_place = output.exists() and not output.is_file()  # a device or a named pipe cannot be replaced
    target = output if in_place else output.with_name(f".{output.name}.partial")
    try:
        stream = target.open("wb")
    except OSError as error:
        raise QueryError(f"-o {output}: expected a file that can be written, got {error.strerror}") from error
    try:
        with stream:
            yield stream
        if not in_place:
            target.replace(output)
    finally:
        if not in_place:
            target.unlink(missing_ok=True)


def _make_csv(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_csv_value(value) for value in row])
        if text.tell() >= PIECE_BYTES:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _csv_value(value: Any) -> Any:
    return format_iso(value) if isinstance(value, datetime) and value.tzinfo else value


def _make_json(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
    """One JSON array, an object per line."""
    before = b"[\n"
    for piece in _pieces(_objects(columns, rows), separator=b",\n"):
        yield before + piece
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def _make_ndjson(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
    """An object per line and nothing else (ndjson.org)."""
    for piece in _pieces(_objects(columns, rows), separator=b"\n"):
        yield piece + b"\n"


def _objects(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
    for row in rows:
        record = dict(zip(columns, row, strict=True))
        yield json.dumps(record, default=json_value, ensure_ascii=False).encode()


def _pieces(parts: Iterable[bytes], separator: bytes) -> Iterator[bytes]:
    """The parts, joined to pieces of at least PIECE_BYTES, except for the last."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield separator.join(held)
            held, size = [], 0
    if held:
        yield separator.join(held)


def json_value(value: Any) -> Any:
    """What JSON has no form for; for `json.dumps(default=...)`."""
    if isinstance(value, datetime):
        return format_iso(value) if value.tzinfo else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)


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


def _make_parquet(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
    """The columns of `detection_history`, with their types also when there are no rows."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, _parquet_type(pa, name)) for name in columns])
    remaining, outbox = iter(rows), _Outbox()
    with parquet.ParquetWriter(outbox, schema, compression="zstd") as writer:
        while batches := list(islice(_batches(pa, schema, remaining), PARQUET_ROWS // BATCH_ROWS)):
            writer.write_table(pa.Table.from_batches(batches), row_group_size=PARQUET_ROWS)
            yield outbox.take()
    yield outbox.take()


def _batches(pa: Any, schema: Any, rows: Iterator[Row]) -> Iterator[Any]:
    """The rows as columns, a tenth of the size that they have as Python's objects."""
    while batch := list(islice(rows, BATCH_ROWS)):
        columns = zip(schema, zip(*batch, strict=True), strict=True)
        arrays = [pa.array(values, field.type) for field, values in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _parquet_type(pa: Any, column: str) -> Any:
    """Names as text, times as UTC microseconds, sizes as integers, all that is measured as doubles."""
    kinds = {
        ("camera", "class_name", "model"): pa.string(),
        ("captured_at",): pa.timestamp("us", tz="UTC"),
        ("score", "x", "y", "width", "height", "area", "latency_ms"): pa.float64(),
        ("frame_width", "frame_height"): pa.int32(),
        ("frame_index", "track_id"): pa.int64(),
    }
    return next(kind for names, kind in kinds.items() if column in names)
