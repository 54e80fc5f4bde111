"""`framewatch camera apply`: makes the database agree with a file of cameras."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.options import with_settings
from app.tables import print_hint
from core.errors import SettingsError
from core.settings import Settings


@with_settings("database_url")
def apply(
    settings: Settings,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML: `cameras:` with a list of name, url, fps, ...")
    ],
    prune: Annotated[
        bool, typer.Option("--prune", help="Also remove cameras that the file does not list.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The plan as one JSON object; acts only with --yes.")
    ] = False,
) -> None:
    """Makes the database agree with a file; shows the plan and asks before it acts.

    The plan has a line per camera: + added, ~ changed and how, - removed, = as it is. All of it is done, or
    nothing; cameras that do not change go on undisturbed.

    framewatch camera apply cameras.yml
    framewatch camera apply cameras.yml --prune --yes
    framewatch camera apply cameras.yml --json | jq .changed
    """
    from app.cameras_file import apply_plan, describe_plan, plan_changes, plan_json, read_cameras
    from app.database_access import opened_database
    from storage.cameras import list_cameras

    wanted = read_cameras(file)
    with opened_database(settings, create=True) as database:
        plan = plan_changes(list_cameras(database), wanted, prune=prune)
        if as_json:
            if yes:
                apply_plan(database, plan)
            print(json.dumps(plan_json(plan, applied=yes), indent=2))
            return
        for line in describe_plan(plan):
            print(line)
        if plan.unlisted:
            names = ", ".join(camera.name for camera in plan.unlisted)
            print_hint(f"kept, though not in {file}: {names} (--prune removes them)")
        if not plan.changes:
            print_hint("nothing to change")
            return
        confirm(f"Apply {plan.changes} change{'s' if plan.changes > 1 else ''}?", yes)
        apply_plan(database, plan)
    print_hint(f"applied: {len(plan.add)} added, {len(plan.update)} updated, {len(plan.remove)} removed")


def confirm(question: str, yes: bool) -> None:
    """Asks unless `yes`. Raises SettingsError where nobody can answer, and ends the command at a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError("expected --yes where nobody can answer, got none")
    if not typer.confirm(question):
        print_hint("nothing was changed")
        raise typer.Exit(1)
