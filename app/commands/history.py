"""Questions to the history: `detections`, `counts` and `sql`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from app.exports import Format, choose_format, write_rows
from app.filters import FilterOptions, split_names
from app.options import with_settings
from app.tables import Column, infer_columns, print_hint, print_table
from app.times import format_minute, parse_bucket
from core.errors import QueryError
from core.settings import Settings

TABLE_ROWS = 100
"""Rows of a table unless --limit says otherwise; files get all rows."""

_GROUPS = ("class", "camera", "model")
_DETECTION_COLUMNS = (
    Column("camera", flexible=True),
    Column("captured_at (UTC)"),
    Column("class_name"),
    Column("score", digits=2),
    Column("x", digits=0),
    Column("y", digits=0),
    Column("width", digits=0),
    Column("height", digits=0),
    Column("area", digits=0, optional=True),
    Column("frame", numeric=True, optional=True),
    Column("model", optional=True),
    Column("latency_ms", digits=0, optional=True),
)
_DETECTION_FIELDS = (
    *("camera", "captured_at", "class_name", "score", "x", "y", "width", "height", "area", "frame_index"),
    *("model", "latency_ms"),
)


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How rows come out."""

    format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="How rows come out (default: table, or what FILE ends in)."),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write to FILE: .csv, .json, .ndjson or .parquet."
        ),
    ] = None


LimitOption = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, help=f"Most rows (default: {TABLE_ROWS} in a table, else all)."),
]


@with_settings("database_url")
def detections(
    settings: Settings, wanted: FilterOptions, into: OutputOptions, limit: LimitOption = None
) -> None:
    """What was seen: detections that pass a filter, newest first.

    framewatch detections --class person --since 2h --min-score 0.5
    framewatch detections --camera gate,yard --region 0,200,640,480 --since 2026-11-23T08:00
    framewatch detections --since 7d -o week.parquet
    framewatch detections --since today --format json | jq '.[].class_name'
    """
    from app.database_access import opened_database
    from storage.queries import HISTORY_COLUMNS, find_detections

    chosen = choose_format(into.format, into.output)
    shown = limit or TABLE_ROWS
    filter = wanted.to_filter(limit=shown + 1 if chosen is Format.TABLE else limit)
    with opened_database(settings) as database:
        found = find_detections(database, filter)
        if chosen is not Format.TABLE:
            report_file(
                write_rows(chosen, HISTORY_COLUMNS, (row.values() for row in found), into.output), into.output
            )
            return
        rows = [[getattr(row, name) for name in _DETECTION_FIELDS] for row in found]
    print_limited(_DETECTION_COLUMNS, rows, shown, "no detections pass the filter")


@with_settings("database_url")
def counts(
    settings: Settings,
    wanted: FilterOptions,
    into: OutputOptions,
    by: Annotated[
        str, typer.Option("--by", help="Split by any of class, camera and model, parted by commas.")
    ] = "class",
    bucket: Annotated[
        str | None, typer.Option("--bucket", metavar="WIDTH", help="Split by time too: 15m, 1h, 1d (UTC).")
    ] = None,
) -> None:
    """How many detections there were, by class, camera, model and time.

    framewatch counts
    framewatch counts --by class,camera --bucket 1h --since today
    framewatch counts --by camera --class person --min-score 0.5 --format csv
    """
    from app.database_access import opened_database
    from storage.queries import count_detections

    chosen = choose_format(into.format, into.output)
    width = parse_bucket(bucket, "--bucket") if bucket is not None else None
    groups = _parse_groups(by)
    with opened_database(settings) as database:
        found = count_detections(database, groups, width, wanted.to_filter())
    names = (
        *(["bucket"] if width else []),
        *("class_name" if group == "class" else group for group in groups),
        "count",
    )
    rows = [[getattr(row, name) for name in names] for row in found]
    if chosen is not Format.TABLE:
        report_file(write_rows(chosen, names, rows, into.output), into.output)
        return
    if not rows:
        print_hint("no detections pass the filter")
        return
    columns = [_count_column(name) for name in names]
    shown = [
        [format_minute(value) if name == "bucket" else value for name, value in zip(names, row, strict=True)]
        for row in rows
    ]
    print_table(columns, shown)


@with_settings("database_url")
def sql(
    settings: Settings,
    into: OutputOptions,
    statement: Annotated[
        str, typer.Argument(help="One statement that reads, or - to read it from standard input.")
    ],
    limit: LimitOption = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that it may take.")] = 30.0,
) -> None:
    """Runs SQL that reads; the database itself refuses to write.

    The view detection_history has everything about a detection in one row; docs/sql.md describes the tables.

    framewatch sql "SELECT camera, class_name, count(*) FROM detection_history GROUP BY 1, 2"
    framewatch sql "SELECT * FROM frame_ledger ORDER BY minute DESC" --format csv
    framewatch sql "SELECT * FROM latency_per_hour" -o latency.parquet
    framewatch sql - < question.sql
    """
    from app.database_access import opened_database
    from storage.readonly_sql import run_readonly_sql

    chosen = choose_format(into.format, into.output)
    shown = limit or TABLE_ROWS
    text = sys.stdin.read() if statement == "-" else statement
    with opened_database(settings) as database:
        table = run_readonly_sql(database, text, shown + 1 if chosen is Format.TABLE else limit, timeout_s)
        if chosen is not Format.TABLE:
            report_file(write_rows(chosen, table.columns, table.rows, into.output), into.output)
            return
        rows = list(table.rows)
    print_limited(infer_columns(table.columns, rows), rows, shown, "no rows")


def print_limited(columns: Sequence[Column], rows: Sequence[Sequence[Any]], limit: int, nothing: str) -> None:
    """Prints at most `limit` rows, and says so when there are more; `nothing` when there are none."""
    if not rows:
        print_hint(nothing)
        return
    print_table(columns, rows[:limit])
    if len(rows) > limit:
        print_hint(f"the first {limit} rows; more with --limit N, all with --format csv or json")


def report_file(count: int, output: Path | None) -> None:
    """Says what was written where, unless it went to standard output."""
    if output is not None:
        print_hint(f"{count} rows written to {output}")


def _parse_groups(text: str) -> tuple[str, ...]:
    groups = split_names([text])
    unknown = [group for group in groups if group not in _GROUPS]
    if unknown or not groups:
        raise QueryError(f"--by: expected any of {', '.join(_GROUPS)}, parted by commas; got {text!r}")
    return groups


def _count_column(name: str) -> Column:
    return Column("bucket (UTC)" if name == "bucket" else name, numeric=name == "count")
