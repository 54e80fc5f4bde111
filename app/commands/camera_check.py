"""`framewatch camera check`: does a camera answer, and what does it send?"""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from app.options import with_settings
from app.tables import print_hint
from core.settings import Settings

KEYFRAMES_WITHIN_S = 10.0


@with_settings("database_url", "open_timeout_s", "stall_timeout_s")
def check(
    settings: Settings,
    camera: Annotated[
        str, typer.Argument(metavar="NAME|URL", help="A camera's name, or any address or file.")
    ],
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            min=0.1,
            help="How long to watch (default: 2, and for up to 10 until two keyframes came).",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            help="Where to save the first picture: a .jpg or .png (default: check-NAME.jpg in this folder).",
        ),
    ] = None,
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Save no picture.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Connects to a camera, prints what it sends, and saves a picture; exit code 2 when it does not answer.

    It tells codec, size, frames per second, the time between keyframes, and how long the first picture took.

    framewatch camera check rtsp://192.0.2.10/stream1
    framewatch camera check gate --picture gate.jpg
    framewatch camera check gate --json | jq .keyframe_interval_s
    """
    from app.camera_check import check_source, find_url

    url = find_url(settings, camera)
    target = None if no_picture else picture or _default_picture(camera, url)
    patience_s = KEYFRAMES_WITHIN_S if seconds is None else 0.0
    report = check_source(url, settings, seconds or 2.0, target, patience_s)
    print(json.dumps(report.as_json(), indent=2) if as_json else report)


def _default_picture(camera: str, url: str) -> Path | None:
    """A file in this folder, named after the camera and without secrets; None where none can be written."""
    from core.types import CAMERA_NAME
    from ingest.camera_defaults import name_from

    name = camera if CAMERA_NAME.fullmatch(camera) else name_from(url)
    if not os.access(Path.cwd(), os.W_OK):
        print_hint("no picture saved, as this folder cannot be written to; --picture FILE saves it elsewhere")
        return None
    return Path(f"check-{name}.jpg")
