"""The services that scale alone: `ingest` and `worker`."""

import logging
import os
import sys
from typing import Annotated, NoReturn

import typer

from app.filters import split_names
from app.options import with_settings
from core.settings import Settings


@with_settings(
    *("redis_url", "database_url", "model", "jpeg_quality", "namespace", "metrics_port", "metrics_host"),
    service=True,
)
def ingest(settings: Settings) -> None:
    """Reads the cameras of the database and puts their frames on the queue, until SIGTERM or Ctrl-C.

    Changes of cameras take effect within two seconds. Any number of these processes share the cameras.

    framewatch ingest
    framewatch ingest --metrics-port 9101
    framewatch ingest --redis-url redis://queue-host:6379/0 --database-url postgresql+psycopg://user@db-host/framewatch
    """
    from app.ingest_service import ingest_until_stopped

    ingest_until_stopped(settings)


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
    *("decode_threads", "batch_timeout_s", "claim_timeout_s", "namespace"),
    *("evidence_url", "metrics_port", "metrics_host"),
    service=True,
)
def worker(
    settings: Settings,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models", help="Serve these models instead of --model; repeat it, or part names by commas."
        ),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, max=64, help="Batches in hand at once (default: 2).")
    ] = None,
    hostname: Annotated[
        str | None,
        typer.Option("--hostname", metavar="NODE", help="Celery node name, as for `celery worker`."),
    ] = None,
) -> None:
    """Runs one worker: takes frames in batches, detects, stores, until SIGTERM or Ctrl-C.

    It finishes the batch in hand before it ends.

    It is `celery -A workers.app worker` with the settings as options; start as many as you like, on any host.

    framewatch worker
    framewatch worker --device cuda:0 --batch-size 32 --precision fp16
    framewatch worker --metrics-port 9102
    framewatch worker --models resnet50_thin_fpn,my-weights.safetensors
    """
    from app.metrics import serving_metrics
    from app.queue_access import opened_redis, redis_url
    from workers.app import run_worker
    from workers.bell import bell_queue
    from workers.metrics import REGISTRY

    with opened_redis(settings):
        chosen = settings.model_copy(update={"redis_url": redis_url(settings)})
    arguments = [f"--queues={','.join(bell_queue(name) for name in split_names(models))}"] if models else []
    arguments += [f"--concurrency={concurrency}"] if concurrency else []
    arguments += [f"--hostname={hostname}"] if hostname else []
    with serving_metrics(REGISTRY, chosen.metrics_port, chosen.metrics_host):
        exit_code = run_worker(chosen, arguments)
    leave_at_once(exit_code)


def leave_at_once(exit_code: int) -> NoReturn:
    """Ends a worker that has closed everything: Python needs two more seconds to take torch apart."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
