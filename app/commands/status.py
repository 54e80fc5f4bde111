"""`framewatch status`: what goes on right now."""

import json
from typing import Annotated

import typer

from app.options import with_settings
from app.tables import show, terminal_width
from core.settings import Settings


@with_settings("redis_url", "database_url", "namespace")
def status(
    settings: Settings,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Shows cameras, queue depth and age, workers, and where every frame went.

    framewatch status
    framewatch status --json | jq '.cameras[] | {name, state, fps}'
    watch framewatch status
    """
    from app.queue_access import make_queue, opened_redis, with_redis_url
    from app.status import read_status, render_status

    settings = with_redis_url(settings)
    with opened_redis(settings) as client:
        found = read_status(settings, client, make_queue(client, settings))
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        show(render_status(found, width=terminal_width()))
