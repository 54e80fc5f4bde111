"""Rows as files: CSV, JSON and Parquet, streamed in constant memory and written whole or not at all."""

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


class Format(StrEnum):
    """How rows come out."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
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
                f"-o {output}: expected a name ending in .csv, .json or .parquet, or a --format; got neither"
            )
        return endings[output.suffix.lower()]
    if chosen is Format.TABLE and output is not None:
        raise QueryError(f"-o {output}: expected --format csv, json or parquet for a file, got table")
    if chosen is Format.PARQUET and output is None and sys.stdout.isatty():
        raise QueryError("--format parquet: expected -o FILE or a pipe, got a terminal")
    return chosen


def write_rows(format: Format, columns: Sequence[str], rows: Iterable[Row], output: Path | None) -> int:
    """Writes rows to a file or standard output and returns how many. Raises QueryError for a bad file."""
    writers = {Format.CSV: _write_csv, Format.JSON: _write_json, Format.PARQUET: _write_parquet}
    with _opened(output) as stream:
        return writers[format](columns, rows, stream)


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


def _write_csv(columns: Sequence[str], rows: Iterable[Row], stream: IO[bytes]) -> int:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        count = 0
        for row in rows:
            writer.writerow([_csv_value(value) for value in row])
            count += 1
        return count
    finally:
        text.flush()
        text.detach()


def _csv_value(value: Any) -> Any:
    return format_iso(value) if isinstance(value, datetime) and value.tzinfo else value


def _write_json(columns: Sequence[str], rows: Iterable[Row], stream: IO[bytes]) -> int:
    """One JSON array, an object per line."""
    count = 0
    stream.write(b"[")
    for row in rows:
        record = dict(zip(columns, row, strict=True))
        stream.write(b",\n" if count else b"\n")
        stream.write(json.dumps(record, default=json_value, ensure_ascii=False).encode())
        count += 1
    stream.write(b"\n]\n" if count else b"]\n")
    return count


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


def _write_parquet(columns: Sequence[str], rows: Iterable[Row], stream: IO[bytes]) -> int:
    """The columns of `detection_history`, with their types also when there are no rows."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, _parquet_type(pa, name)) for name in columns])
    remaining, count = iter(rows), 0
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        while batch := list(islice(remaining, PARQUET_ROWS)):
            arrays = [
                pa.array(values, field.type)
                for field, values in zip(schema, zip(*batch, strict=True), strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            count += len(batch)
    return count


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
