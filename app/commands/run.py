"""`framewatch run`: sources to their end."""

import json
import logging
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.options import is_given, with_settings
from app.tables import print_hint, print_table
from core.settings import Settings

if TYPE_CHECKING:
    from app.run_account import RunSummary

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


@with_settings(
    *(
        "redis_url",
        "database_url",
        "model",
        "device",
        "precision",
        "compile",
        "batch_size",
        "score_threshold",
        "canvas",
    ),
    *("worker_concurrency", "claim_timeout_s", "jpeg_quality", "namespace", "data_dir"),
)
def run(
    settings: Settings,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE", help="Files, folders of pictures, or URLs; NAME=SOURCE names the camera."
        ),
    ],
    fps: Annotated[
        float | None,
        typer.Option("--fps", min=0.001, help="Frames per second to analyse (default: every frame)."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", min=0, max=64, help="Worker processes to start; 0: those already running serve."
        ),
    ] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object, and no progress.")
    ] = False,
) -> None:
    """Takes sources to their end through the whole pipeline: Redis, Celery workers, detector, SQL.

    Starts a Redis of its own unless one is given, and writes to framewatch.db unless told otherwise. The exit
    code is 0 only when every frame is accounted for and every source could be read. A file that is run again
    adds no rows.

    framewatch run street.mp4
    framewatch run gate=a.mp4 yard=b.mp4 --workers 2 --database-url postgresql+psycopg://user@db-host/framewatch
    framewatch run pictures/ --json | jq .detections
    framewatch run rtsp://192.0.2.10/stream1 --fps 5        (until Ctrl-C)
    """
    from app.run import RunRequest, run_sources
    from app.source_list import parse_sources

    quieten_cameras(settings)
    summary = run_sources(RunRequest(parse_sources(sources, fps), workers, quiet=as_json), settings)
    if as_json:
        print(json.dumps(summary.as_json(), indent=2))
    else:
        print_summary(summary)
    end_run(summary)


def quieten_cameras(settings: Settings) -> None:
    """Camera events show in the progress and their errors at the end, unless a log level was asked for."""
    if not is_given(settings, "log_level"):
        logging.getLogger("ingest").setLevel(logging.ERROR)


def end_run(summary: "RunSummary") -> NoReturn:
    """The errors of a run, a line each, and its exit code; a lost frame outweighs a wrong source."""
    for error in summary.errors:
        print("error:", error, file=sys.stderr)
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)
    if not summary.balanced:
        raise typer.Exit(FAILED)
    raise typer.Exit(WRONG_USE if summary.errors else 0)


def print_summary(summary: "RunSummary") -> None:
    """The ledger of a run as a table, and where its rows are."""
    print_table(*summary.table())
    start_up = f", {summary.start_up_s:.1f} s of it until a worker was ready" if summary.start_up_s else ""
    print_hint(f"{summary.seconds:.1f} s{start_up}; rows in {summary.database_url}")
