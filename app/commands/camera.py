"""`framewatch camera`: the cameras that `up` and `ingest` watch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from app.camera_options import CameraOptions
from app.commands import camera_apply, camera_check, camera_discover
from app.options import with_settings
from app.tables import Column, print_hint, print_table
from core.errors import SettingsError
from core.settings import Settings
from core.types import Camera

group = typer.Typer(no_args_is_help=True, help="Add, list, change, remove and check cameras.")
group.command()(camera_check.check)
group.command()(camera_discover.discover)
group.command()(camera_apply.apply)

NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of cameras.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the camera.")]


@group.command()
@with_settings("database_url")
def add(
    settings: Settings,
    name: NameArgument,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="rtsp://, http://, usb://0, or a file; secrets as ${NAME}.")
    ],
    options: CameraOptions,
) -> None:
    """Adds a camera; a running `up` or `ingest` starts watching it within seconds.

    framewatch camera add gate 'rtsp://viewer:${GATE_PASSWORD}@192.0.2.10/stream1' --fps 5
    framewatch camera add yard http://192.0.2.11/video.mjpg --class person --max-age 5
    framewatch camera add door usb://0 --mask 0,0,1,0,1,0.2,0,0.2
    """
    from app.cameras_file import make_camera
    from app.database_access import opened_database
    from storage.cameras import add_camera

    camera = make_camera({"name": name, "url": url} | options.fields())
    with opened_database(settings, create=True) as database:
        add_camera(database, camera)
    print_hint(f"added {name}; `framewatch camera check {name}` connects to it")


@group.command()
@with_settings("database_url")
def update(
    settings: Settings,
    name: NameArgument,
    options: CameraOptions,
    url: Annotated[str | None, typer.Option("--url", help="New address.")] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            "--unset",
            metavar="FIELD",
            help="Back to the default: model, fps, max_age_s, keyframes_only, hwaccel, masks, areas, "
            "classes, min_score or evidence.",
        ),
    ] = None,
) -> None:
    """Changes what is given and keeps the rest; a running `up` or `ingest` takes it over within seconds.

    framewatch camera update gate --fps 10 --max-age 5
    framewatch camera update gate --disabled
    framewatch camera update gate --unset fps
    """
    from app.cameras_file import changed_values, make_camera
    from app.database_access import opened_database
    from storage.cameras import change_camera

    fields = options.fields()
    if url is not None:
        fields["url"] = url
    for field in unset or ():
        fields |= _default_of(field)
    if not fields:
        raise SettingsError(
            f"camera update {name}: expected something to change, such as --fps 5 or --disabled; got nothing"
        )
    with opened_database(settings) as database:
        change_camera(database, name, lambda camera: make_camera(changed_values(camera, fields)))
    print_hint(f"updated {name}")


@group.command()
@with_settings("database_url")
def enable(settings: Settings, names: NamesArgument) -> None:
    """Watches cameras again that were disabled.

    framewatch camera enable gate yard
    """
    _switch(settings, names, enabled=True)


@group.command()
@with_settings("database_url")
def disable(settings: Settings, names: NamesArgument) -> None:
    """Stops watching cameras until they are enabled again; the others go on undisturbed.

    framewatch camera disable gate
    """
    _switch(settings, names, enabled=False)


def _switch(settings: Settings, names: Sequence[str], *, enabled: bool) -> None:
    """All cameras or, when one is unknown, none."""
    from app.database_access import opened_database
    from storage.cameras import change_cameras, get_camera

    with opened_database(settings) as database:
        cameras = [replace(get_camera(database, name), enabled=enabled) for name in names]
        change_cameras(database, update=cameras)
    print_hint(f"{'enabled' if enabled else 'disabled'} {', '.join(names)}")


@group.command(name="list")
@with_settings("database_url")
def list_(
    settings: Settings,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines.")] = False,
) -> None:
    """Lists the cameras. Passwords are never shown.

    framewatch camera list
    framewatch camera list --json | jq -r '.[].name'
    """
    from app.database_access import opened_database
    from core.urls import redact_url
    from storage.cameras import list_cameras

    with opened_database(settings) as database:
        cameras = [replace(camera, url=redact_url(camera.url)) for camera in list_cameras(database)]
    if as_json:
        print(json.dumps([asdict(camera) for camera in cameras], indent=2))
    elif not cameras:
        print_hint("no cameras yet; add one with `framewatch camera add NAME URL`")
    else:
        print_table(_COLUMNS, [_row(camera) for camera in cameras])


_COLUMNS = (
    Column("name"),
    Column("url", flexible=True),
    Column("fps", numeric=True),
    Column("model"),
    Column("policy"),
    Column("max_age_s", numeric=True),
    Column("classes", optional=True),
    Column("enabled"),
)


def _row(camera: Camera) -> Sequence[Any]:
    fps = "every" if camera.fps is None else f"{camera.fps:g}"
    max_age = "never" if camera.max_age_s is None else f"{camera.max_age_s:g}"
    classes = ", ".join(camera.classes) or "all"
    enabled = "yes" if camera.enabled else "no"
    return (
        camera.name,
        camera.url,
        fps,
        camera.model or "default",
        camera.policy.value,
        max_age,
        classes,
        enabled,
    )


@group.command()
@with_settings("database_url")
def remove(settings: Settings, name: NameArgument) -> None:
    """Stops watching a camera for good. What it saw stays in the history.

    framewatch camera remove gate
    """
    from app.database_access import opened_database
    from storage.cameras import remove_camera

    with opened_database(settings) as database:
        remove_camera(database, name)
    print_hint(f"removed {name}; its history stays")


_DEFAULTS: dict[str, Any] = {
    "model": None,
    "fps": None,
    "max_age_s": None,
    "keyframes_only": None,
    "hwaccel": None,
    "masks": (),
    "areas": (),
    "classes": (),
    "min_score": None,
    "evidence": (),
}


def _default_of(field: str) -> dict[str, Any]:
    if field not in _DEFAULTS:
        raise SettingsError(f"--unset: expected one of {', '.join(_DEFAULTS)}; got {field!r}")
    return {field: _DEFAULTS[field]}
