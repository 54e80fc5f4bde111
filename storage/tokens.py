"""Who may use the HTTP API: tokens that people hold, and the sessions of their browsers.

Only SHA-256 hashes are stored. Tokens and session keys are 256 random bits, which no list of words holds, so
a slow hash would protect nothing (OWASP, Password Storage: those are for passwords that people choose).
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from core.errors import SettingsError
from core.types import CAMERA_NAME
from storage.database import Database
from storage.roles import Role
from storage.tables import api_sessions, api_tokens

TOKEN_NAME = CAMERA_NAME
TOKEN_PREFIX = "fw_"  # lets scanners of repositories find a token that was left in one
SESSION_LASTS = timedelta(days=30)
_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """A stored token, without its secret."""

    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None


def hash_secret(secret: str) -> str:
    """What is stored in place of a token or a session key: 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add_token(database: Database, name: str, role: Role, lasts: timedelta | None = None) -> str:
    """Makes a token and returns its secret, which is stored nowhere.

    Raises SettingsError for a name that is none or is taken.
    """
    if not TOKEN_NAME.fullmatch(name):
        raise SettingsError(
            f"token name: expected 1 to 63 letters, digits, '_', '-' or '.', got {name!r}; choose another"
        )
    secret = TOKEN_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    now = datetime.now(UTC)
    row = {
        "name": name,
        "role": role.value,
        "sha256": hash_secret(secret),
        "created_at": now,
        "expires_at": None if lasts is None else now + lasts,
    }
    try:
        with database.writing() as connection:
            connection.execute(api_tokens.insert(), row)
    except IntegrityError as error:
        raise SettingsError(
            f"token {name}: expected a new name, got a taken one; `framewatch token revoke {name}` frees it"
        ) from error
    return secret


def list_tokens(database: Database) -> list[Token]:
    """All tokens by name, expired ones too."""
    with database.reading() as connection:
        return [_token(row) for row in connection.execute(_TOKENS.order_by(api_tokens.c.name))]


def revoke_token(database: Database, name: str) -> None:
    """Ends a token and the sessions that began with it. Raises SettingsError for an unknown name."""
    with database.writing() as connection:
        of_name = select(api_tokens.c.sha256).where(api_tokens.c.name == name)
        sha256 = connection.scalar(of_name)
        connection.execute(delete(api_sessions).where(api_sessions.c.token_sha256 == sha256))
        connection.execute(delete(api_tokens).where(api_tokens.c.name == name))
    if sha256 is None:
        known = ", ".join(token.name for token in list_tokens(database)) or "none so far"
        raise SettingsError(f"token {name!r}: expected one of the known ones ({known})")


def find_token(database: Database, sha256: str) -> Token | None:
    """The valid token whose secret has this hash; None for an unknown, revoked or expired one.

    The database compares hashes, so how long it takes tells nothing about a secret.
    """
    with database.reading() as connection:
        row = connection.execute(_TOKENS.where(api_tokens.c.sha256 == sha256)).one_or_none()
    token = None if row is None else _token(row)
    if token is None or (token.expires_at is not None and token.expires_at <= datetime.now(UTC)):
        return None
    return token


def open_session(database: Database, token_secret: str) -> str:
    """Begins a browser's session with a token that the caller has found valid; returns the session's key.

    It ends with SESSION_LASTS, or with the token. Expired sessions of all tokens are cleared away.
    """
    key, now = secrets.token_urlsafe(_RANDOM_BYTES), datetime.now(UTC)
    row = {
        "sha256": hash_secret(key),
        "token_sha256": hash_secret(token_secret),
        "expires_at": now + SESSION_LASTS,
    }
    with database.writing() as connection:
        connection.execute(delete(api_sessions).where(api_sessions.c.expires_at <= now))
        connection.execute(api_sessions.insert(), row)
    return key


def token_hash_of_session(database: Database, key: str) -> str | None:
    """The hash of the token that a session began with; None for an unknown or expired session."""
    wanted = (api_sessions.c.sha256 == hash_secret(key), api_sessions.c.expires_at > datetime.now(UTC))
    with database.reading() as connection:
        found: str | None = connection.scalar(select(api_sessions.c.token_sha256).where(*wanted))
    return found


def close_session(database: Database, key: str) -> None:
    """Forgets a session; an unknown one is none."""
    with database.writing() as connection:
        connection.execute(delete(api_sessions).where(api_sessions.c.sha256 == hash_secret(key)))


_TOKENS = select(api_tokens.c.name, api_tokens.c.role, api_tokens.c.created_at, api_tokens.c.expires_at)


def _token(row: Any) -> Token:
    return Token(row.name, Role(row.role), row.created_at, row.expires_at)
