"""`framewatch camera discover`: which cameras are there?"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from app.options import with_settings
from app.tables import Column, print_hint, print_table
from core.settings import Settings


@with_settings()
def discover(
    settings: Settings,  # noqa: ARG001 - its log level is set by now
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long to wait for answers.")] = 3.0,
    interface: Annotated[
        str | None,
        typer.Option(
            "--interface", metavar="ADDRESS", help="Ask on the network of this address alone (default: all)."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines.")] = False,
) -> None:
    """Asks the local networks which ONVIF cameras are there; exit code 1 when none answers.

    framewatch camera discover
    framewatch camera discover --interface 192.0.2.5 --json | jq -r '.[].url'
    """
    from ingest.discovery import discover as ask

    found = ask(seconds, interface)
    if as_json:
        print(json.dumps([asdict(camera) for camera in found], indent=2))
    elif found:
        columns = (Column("url"), Column("name"), Column("hardware"), Column("device", flexible=True))
        print_table(columns, [(one.url, one.name, one.hardware, one.device) for one in found])
        host = found[0].url.removeprefix("onvif://")
        print_hint(f"add one by: framewatch camera add NAME 'onvif://USER:${{PASSWORD}}@{host}'")
    else:
        print_hint(
            "no ONVIF camera answered; some have it switched off, and routers do not let the question by"
        )
    if not found:
        raise typer.Exit(1)
