"""`framewatch db`: the history database itself."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from app.exports import json_value
from app.options import with_settings
from app.tables import Column, print_hint, print_table
from app.times import format_moment
from core.settings import Settings

group = typer.Typer(no_args_is_help=True, help="Make, upgrade and look at the history database.")


@group.command()
@with_settings("database_url")
def upgrade(settings: Settings) -> None:
    """Makes the tables, or brings older ones up to date; safe at any time, also from several hosts at once.

    framewatch db upgrade
    framewatch db upgrade --database-url postgresql+psycopg://framewatch@db-host/framewatch
    """
    from app.database_access import opened_database

    with opened_database(settings, upgrade=True) as database:
        print_hint(f"{database.label} is up to date")


@group.command()
@with_settings("database_url")
def info(
    settings: Settings,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Shows where the history is, its version, size, age and rows.

    framewatch db info
    framewatch db info --json | jq .rows
    """
    from app.database_access import opened_database

    with opened_database(settings, check=False) as database:
        found = database.info()
    if as_json:
        print(json.dumps(asdict(found), default=json_value, indent=2))
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
    if found.dialect == "postgresql":
        facts.append(("partitions", str(found.partitions)))
    print_table((Column("what"), Column("value", flexible=True)), facts)


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
