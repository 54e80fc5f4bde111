"""`framewatch db`: the history database itself."""

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from app.exports import json_value
from app.options import with_settings
from app.tables import Column, print_hint, print_table
from app.times import format_moment, parse_span
from core.errors import UsageError
from core.settings import Settings

if TYPE_CHECKING:
    from storage.database import Database
    from storage.retention_policy import RetentionPolicy

group = typer.Typer(no_args_is_help=True, help="Make, upgrade and look at the history database.")


@group.command()
@with_settings("database_url")
def upgrade(
    settings: Settings,
    with_reader: Annotated[
        bool,
        typer.Option(
            "--with-reader",
            help="PostgreSQL: let other programs log in as framewatch_reader, which only reads; "
            "prints its URL.",
        ),
    ] = False,
) -> None:
    """Makes the tables, or brings older ones up to date; safe at any time, also from several hosts at once.

    framewatch db upgrade
    framewatch db upgrade --database-url postgresql+psycopg://framewatch@db-host/framewatch
    framewatch db upgrade --with-reader
    """
    from app.database_access import opened_database

    with opened_database(settings, upgrade=True) as database:
        print_hint(f"{database.label} is up to date")
        if with_reader:
            _open_reader(database, settings)


def _open_reader(database: "Database", settings: Settings) -> None:
    """Prints the reader's URL on standard output; a password that was made up appears this once."""
    given = settings.reader_password
    reader = database.open_reader(given.get_secret_value() if given else None)
    if given is None and reader.password is None:
        print_hint(f"{reader.role} keeps its password; FRAMEWATCH_READER_PASSWORD sets another")
    elif given is None:
        print_hint(f"{reader.role} may log in; its password is shown this once:")
    print(reader.url if given is None else replace(reader, password=None).url)


@group.command()
@with_settings("database_url")
def info(
    settings: Settings,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Shows where the history is, its version, size, age, rows, and detections of the last two weeks by day.

    framewatch db info
    framewatch db info --json | jq .rows
    """
    from app.database_access import opened_database

    with opened_database(settings, check=False) as database:
        found = database.info()
    if as_json:
        per_day = {day.isoformat(): count for day, count in found.detections_per_day.items()}
        known = asdict(found) | {"detections_per_day": per_day}
        print(json.dumps(known, default=json_value, indent=2))
        return
    about = "about " if found.rows_estimated else ""
    facts = [
        ("database", found.url),
        ("server", f"{found.dialect} {found.server_version}"),
        ("schema", _describe_schema(found.revision, found.head)),
        ("size", f"{found.size_bytes / 1e6:.1f} MB"),
        ("first frame (UTC)", format_moment(found.oldest) if found.oldest else "-"),
        ("last frame (UTC)", format_moment(found.newest) if found.newest else "-"),
        *((f"rows in {table}", f"{about}{count}") for table, count in found.rows.items()),
    ]
    facts += [(f"detections on {day}", str(count)) for day, count in found.detections_per_day.items()]
    if found.dialect == "postgresql":
        span = f" ({found.first_partition} to {found.last_partition})" if found.partitions else ""
        facts.append(("partitions", f"{found.partitions}{span}"))
    facts += [(f"size of {table}", f"{size / 1e6:.1f} MB") for table, size in found.table_bytes.items()]
    print_table((Column("what"), Column("value", flexible=True)), facts)


@group.command()
@with_settings("database_url", "retention")
def prune(
    settings: Settings,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="SPAN", help="Remove what is older, such as 30d, just this once."
        ),
    ] = None,
    camera: Annotated[
        str | None, typer.Option("--camera", "-c", help="With --older-than: only of this camera.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="With --older-than: only of this class.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Removes old detections and frames by the setting retention, or once by --older-than.

    `framewatch serve` does it every hour. Times are cut to whole hours. On PostgreSQL whole days are dropped,
    so that some rows stay for up to a day longer.

    framewatch db prune --retention '30d, gate=90d, */truck=52w' --dry-run
    framewatch db prune --older-than 7d --camera yard --class person
    """
    from app.database_access import opened_database
    from app.retention import parse_retention
    from storage.retention import prune as remove_old

    for option, name in (("--camera", camera), ("--class", class_name)):
        if name is not None and not name.strip():
            raise UsageError(f"{option}: expected a name, or the option left out for all; got {name!r}")
    if older_than is None and (camera, class_name) != (None, None):
        raise UsageError(
            "--camera, --class: expected them with --older-than; the setting retention has its own"
        )
    policy = parse_retention(settings.retention)
    if older_than is not None:
        policy = _policy_for_once(older_than, camera, class_name)
    elif not policy.rules:
        raise UsageError(
            "expected --older-than SPAN or the setting retention, got neither; nothing is removed"
        )
    with opened_database(settings) as database:
        _check_names(database, policy)
        report = remove_old(database, policy, dry_run=dry_run)
    if as_json:
        print(json.dumps(asdict(report), default=json_value, indent=2))
        return
    facts = [(name.replace("_", " "), _describe_removed(value)) for name, value in asdict(report).items()]
    print_table((Column("would remove" if dry_run else "removed"), Column("", flexible=True)), facts[1:])


def _policy_for_once(span: str, camera: str | None, class_name: str | None) -> "RetentionPolicy":
    from storage.retention_policy import RetentionPolicy, RetentionRule

    keep = parse_span(span)
    if keep is None:
        raise UsageError(f"--older-than: expected a span such as 12h, 30d or 52w, got {span!r}")
    return RetentionPolicy((RetentionRule(keep, camera, class_name),))


def _check_names(database: "Database", policy: "RetentionPolicy") -> None:
    """Raises CameraNotFoundError or QueryError for names that are not known: a typing error must not pass."""
    from storage.queries import DetectionFilter, count_detections

    named = DetectionFilter(
        cameras=tuple({rule.camera for rule in policy.rules if rule.camera is not None}),
        classes=tuple({rule.class_name for rule in policy.rules if rule.class_name is not None}),
    )
    count_detections(database, (), wanted=named)


def _describe_removed(value: object) -> str:
    if not isinstance(value, list):
        return str(value)
    return f"{len(value)}" + (f" ({value[0]} to {value[-1]})" if value else "")


@group.command()
@with_settings("database_url")
def recount(settings: Settings) -> None:
    """Counts all detections anew, after some were removed with SQL; services may go on meanwhile.

    framewatch db recount
    """
    from app.database_access import opened_database
    from storage.rollup import recount as count_anew

    with opened_database(settings) as database:
        count_anew(database)
        print_hint(f"{database.label}: the hourly counts are those of its detections")


def _describe_schema(revision: str | None, head: str) -> str:
    if revision == head:
        return f"{revision} (up to date)"
    return f"{revision or 'none'}, this version needs {head}: run `framewatch db upgrade`"
