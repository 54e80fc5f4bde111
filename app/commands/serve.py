"""`framewatch serve`: the HTTP API and the dashboard."""

from typing import Annotated

import typer

from app.options import with_settings
from core.settings import Settings


@with_settings("redis_url", "database_url", "namespace", "data_dir", "api_requests_per_minute", service=True)
def serve(
    settings: Settings,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8600,
    require_token: Annotated[
        bool, typer.Option("--require-token", help="Ask for a token on this machine too, as behind a proxy.")
    ] = False,
) -> None:
    """Serves the history and the cameras over HTTP until SIGTERM or Ctrl-C.

    It listens on this machine only, for whoever works on it, unless told otherwise; on other addresses it
    asks everybody for a token. The dashboard is at /, the API's description at /api/docs.

    framewatch serve
    framewatch serve --host 0.0.0.0    # once there is a token: framewatch token add NAME
    framewatch serve --port 8700 --database-url postgresql+psycopg://user@db-host/framewatch
    """
    from app.serving import serve_until_stopped

    serve_until_stopped(settings, host, port, require_token=require_token)
