"""Rows as files: CSV, JSON, NDJSON and Parquet, made piece by piece in constant memory."""

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from app.times import format_iso
from core.errors import QueryError

Row = Sequence[Any]


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
    """A file of these rows, in pieces of some PIECE_BYTES (Parquet: of a row group) as the rows come in.

    Raises QueryError with the first piece for two columns of one name, which only CSV can hold.
    """
    makers = {
        Format.CSV: _make_csv,
        Format.JSON: _make_json,
        Format.NDJSON: _make_ndjson,
        Format.PARQUET: _make_parquet,
    }
    return makers[format](columns, rows)


def _make_parquet(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
    from app.parquet import make_parquet

    return make_parquet(columns, rows)


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
    require_different(columns, "json")
    for row in rows:
        record = dict(zip(columns, row, strict=True))
        try:
            text = _to_json(record)
        except ValueError:  # seldom: a number that JSON has no form for (RFC 8259, section 6)
            text = _to_json({name: _finite(value) for name, value in record.items()})
        yield text.encode()


def _to_json(record: dict[str, Any]) -> str:
    return json.dumps(record, default=json_value, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float | Decimal) and not math.isfinite(value) else value


def require_different(columns: Sequence[str], format: str) -> None:
    """Raises QueryError for two columns of one name."""
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise QueryError(f"{format}: expected columns of different names, got {twice[0]!r} twice; use AS")


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
