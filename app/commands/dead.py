"""`framewatch dead`: frames that failed or killed their workers too often."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from app.options import with_settings
from app.tables import Column, print_hint, print_table
from app.times import format_iso, format_moment
from core.errors import SettingsError
from core.settings import Settings

if TYPE_CHECKING:
    from core.frame_queue import FrameQueue

group = typer.Typer(no_args_is_help=True, help="Look at, replay or drop the dead letters.")

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Ids, as `dead list` shows them.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All of them.")]
OnlyModelOption = Annotated[
    str | None, typer.Option("--of-model", metavar="NAME", help="Only those of this model.")
]

_COLUMNS = (
    Column("id"),
    Column("camera"),
    Column("captured_at (UTC)"),
    Column("frame", numeric=True),
    Column("model"),
    Column("tries", numeric=True),
    Column("error", flexible=True),
)


@group.command(name="list")
@with_settings("redis_url")
def list_(
    settings: Settings,
    of_model: OnlyModelOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most dead letters, the newest.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines.")] = False,
) -> None:
    """Lists the frames that were given up, with the error of their last try.

    framewatch dead list
    framewatch dead list --json | jq '.[].error'
    """
    from app.queue_access import opened_queue

    with opened_queue(settings) as queue:
        letters = queue.dead_letters(of_model, limit)
    if as_json:
        records = [
            {
                "id": letter.id,
                "camera": letter.frame.camera,
                "captured_at": format_iso(letter.frame.captured_at),
                "frame_index": letter.frame.index,
                "model": letter.model,
                "deliveries": letter.deliveries,
                "failed_at": format_iso(letter.failed_at),
                "error": letter.error,
            }
            for letter in letters
        ]
        print(json.dumps(records, indent=2))
    elif not letters:
        print_hint("no dead letters")
    else:
        rows = [
            (
                letter.id,
                letter.frame.camera,
                format_moment(letter.frame.captured_at),
                letter.frame.index,
                letter.model,
                letter.deliveries,
                letter.error,
            )
            for letter in letters
        ]
        print_table(_COLUMNS, rows)


@group.command()
@with_settings("redis_url")
def replay(
    settings: Settings,
    ids: IdsArgument = None,
    everything: AllOption = False,
    of_model: OnlyModelOption = None,
) -> None:
    """Gives dead letters another chance: back on the queue, with all their tries, as far as there is room.

    framewatch dead replay --all
    framewatch dead replay 1700000000000-0
    """
    from app.queue_access import opened_queue

    with opened_queue(settings) as queue:
        chosen = _choose(queue, ids, everything, of_model)
        count = sum(queue.replay_dead(model, of_this) for model, of_this in chosen.items())
        left = sum(len(set(of_this) & set(queue.dead_ids(model))) for model, of_this in chosen.items())
    print_hint(f"{count} of {sum(map(len, chosen.values()))} dead letters replayed")
    if left:
        print_hint(
            f"{left} stay, for which their cameras' queues have no room (camera_max_frames="
            f"{settings.camera_max_frames}, camera_max_bytes={settings.camera_max_bytes}, queue_max_bytes="
            f"{settings.queue_max_bytes}): replay them when workers have taken the others"
        )


@group.command()
@with_settings("redis_url")
def drop(
    settings: Settings,
    ids: IdsArgument = None,
    everything: AllOption = False,
    of_model: OnlyModelOption = None,
) -> None:
    """Deletes dead letters for good; the ledger keeps them counted as failed.

    framewatch dead drop --all
    framewatch dead drop 1700000000000-0
    """
    from app.queue_access import opened_queue

    with opened_queue(settings) as queue:
        chosen = _choose(queue, ids, everything, of_model)
        count = sum(queue.drop_dead(model, of_this) for model, of_this in chosen.items())
    print_hint(f"{count} dead letters dropped")


def _choose(
    queue: "FrameQueue", ids: Sequence[str] | None, everything: bool, model: str | None
) -> dict[str, list[str]]:
    """Ids per model. Raises SettingsError for ids that do not exist, and unless ids or --all were given."""
    if bool(ids) == everything:
        raise SettingsError("expected ids of dead letters or --all, got " + ("both" if ids else "neither"))
    models = [model] if model is not None else queue.models()
    known = {name: queue.dead_ids(name) for name in models}
    if everything:
        return known
    chosen = {name: [one for one in there if one in set(ids or ())] for name, there in known.items()}
    missing = set(ids or ()) - {one for there in chosen.values() for one in there}
    if missing:
        raise SettingsError(f"no dead letter {sorted(missing)[0]}; `framewatch dead list` shows the ids")
    return chosen
