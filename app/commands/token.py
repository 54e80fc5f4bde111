"""`framewatch token`: who may use the HTTP API."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from app.exports import json_value
from app.options import with_settings
from app.tables import Column, print_hint, print_table
from app.times import format_minute, parse_span
from core.errors import SettingsError
from core.settings import Settings
from storage.roles import Role

if TYPE_CHECKING:
    from storage.tokens import Token

group = typer.Typer(no_args_is_help=True, help="Make, list and revoke the tokens of the HTTP API.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Who or what will use it.")]


@group.command()
@with_settings("database_url")
def add(
    settings: Settings,
    name: NameArgument,
    role: Annotated[
        Role, typer.Option("--role", help="viewer looks at everything, admin changes it too.")
    ] = Role.VIEWER,
    lasts: Annotated[
        str | None,
        typer.Option("--lasts", metavar="TIME", help="When it ends: 12h, 90d (default: when it is revoked)."),
    ] = None,
) -> None:
    """Makes a token and prints it, this once: only its hash is stored.

    framewatch token add wall-display
    framewatch token add ops --role admin --lasts 90d
    """
    from app.database_access import opened_database
    from storage.tokens import add_token

    span = None if lasts is None else parse_span(lasts)
    if lasts is not None and not span:
        raise SettingsError(f"--lasts: expected a time such as 12h or 90d, got {lasts!r}")
    with opened_database(settings, create=True) as database:
        secret = add_token(database, name, role, span)
    print(secret)
    print_hint(f"{name} may now use the API as {role.value}; the token is not shown again")


@group.command(name="list")
@with_settings("database_url")
def list_(
    settings: Settings,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines.")] = False,
) -> None:
    """Lists the tokens, without their secrets.

    framewatch token list
    framewatch token list --json | jq -r '.[].name'
    """
    from app.database_access import opened_database
    from storage.tokens import list_tokens

    with opened_database(settings) as database:
        tokens = list_tokens(database)
    if as_json:
        print(json.dumps([asdict(token) for token in tokens], default=json_value, indent=2))
    elif not tokens:
        print_hint("no tokens yet; make one with `framewatch token add NAME`")
    else:
        print_table(_COLUMNS, [_row(token) for token in tokens])


_COLUMNS = (Column("name"), Column("role"), Column("made (UTC)"), Column("ends (UTC)"))


def _row(token: "Token") -> tuple[str, str, str, str]:
    ends = "never" if token.expires_at is None else format_minute(token.expires_at)
    if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
        ends = f"ended {ends}"
    return token.name, token.role.value, format_minute(token.created_at), ends


@group.command()
@with_settings("database_url")
def revoke(settings: Settings, name: NameArgument) -> None:
    """Ends a token at once, and the browser sessions that began with it.

    framewatch token revoke wall-display
    """
    from app.database_access import opened_database
    from storage.tokens import revoke_token

    with opened_database(settings) as database:
        revoke_token(database, name)
    print_hint(f"revoked {name}")
