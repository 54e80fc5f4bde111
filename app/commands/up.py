"""`framewatch up`: cameras on this machine until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer

from app.options import with_settings
from core.settings import Settings


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
    *("worker_concurrency", "jpeg_quality", "namespace", "data_dir"),
    service=True,
)
def up(
    settings: Settings,
    cameras: Annotated[
        Path | None,
        typer.Argument(metavar="[CAMERAS.YML]", help="Cameras to add or change first, as `camera apply`."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, max=64, help="Worker processes to start.")] = 1,
) -> None:
    """Runs everything on this machine until Ctrl-C: Redis, the cameras of the database, workers.

    Redis is embedded and keeps what waits over a restart (in --data-dir), the database is framewatch.db,
    unless told otherwise. `framewatch status`, `camera add`, `detections` and all others work beside it.

    framewatch up
    framewatch up cameras.yml --workers 2
    framewatch up --database-url postgresql+psycopg://user@db-host/framewatch
    """
    from app.up import run_until_stopped

    run_until_stopped(settings, cameras, workers)
