"""Tokens are shown once, stored hashed, and end when they shall."""

from datetime import timedelta

import pytest
from sqlalchemy import text, update

from core.errors import FramewatchError, SettingsError
from core.types import EPOCH
from storage.database import Database
from storage.readonly_sql import run_readonly_sql
from storage.roles import Role
from storage.tables import api_sessions, api_tokens
from storage.tokens import (
    add_token,
    close_session,
    find_token,
    hash_secret,
    list_tokens,
    open_session,
    revoke_token,
    token_hash_of_session,
)


def test_a_token_is_found_by_its_secret_and_only_its_hash_is_stored(database: Database) -> None:
    secret = add_token(database, "wall", Role.VIEWER)
    found = find_token(database, hash_secret(secret))
    assert found is not None
    assert (found.name, found.role, found.expires_at) == ("wall", Role.VIEWER, None)
    assert find_token(database, hash_secret(secret + "x")) is None
    with database.reading() as connection:
        stored = [str(value) for row in connection.execute(text("SELECT * FROM api_tokens")) for value in row]
    assert secret not in stored
    assert hash_secret(secret) in stored


def test_secrets_are_long_and_never_the_same(database: Database) -> None:
    secrets = {add_token(database, f"t{number}", Role.ADMIN) for number in range(20)}
    assert len(secrets) == 20
    assert all(secret.startswith("fw_") and len(secret) == 46 for secret in secrets)


def test_a_taken_or_impossible_name_is_refused(database: Database) -> None:
    add_token(database, "wall", Role.VIEWER)
    with pytest.raises(SettingsError, match="revoke wall"):
        add_token(database, "wall", Role.ADMIN)
    with pytest.raises(SettingsError, match="1 to 63 letters"):
        add_token(database, "the wall", Role.ADMIN)
    assert [token.role for token in list_tokens(database)] == [Role.VIEWER]


def test_a_revoked_token_and_its_sessions_end(database: Database) -> None:
    secret, other = add_token(database, "wall", Role.VIEWER), add_token(database, "other", Role.ADMIN)
    session, others = open_session(database, secret), open_session(database, other)
    assert token_hash_of_session(database, session) == hash_secret(secret)
    revoke_token(database, "wall")
    assert find_token(database, hash_secret(secret)) is None
    assert token_hash_of_session(database, session) is None
    assert token_hash_of_session(database, others) == hash_secret(other)
    with pytest.raises(SettingsError, match=r"\(other\)"):
        revoke_token(database, "wall")


def test_an_expired_token_is_listed_but_not_found(database: Database) -> None:
    lasting = add_token(database, "lasting", Role.VIEWER, timedelta(days=1))
    secret = add_token(database, "gone", Role.VIEWER, timedelta(0))
    assert find_token(database, hash_secret(lasting)) is not None
    assert find_token(database, hash_secret(secret)) is None
    assert [token.name for token in list_tokens(database)] == ["gone", "lasting"]


def test_sessions_end_at_log_out_and_by_themselves(database: Database) -> None:
    secret = add_token(database, "wall", Role.VIEWER)
    session, second = open_session(database, secret), open_session(database, secret)
    close_session(database, session)
    assert token_hash_of_session(database, session) is None
    with database.writing() as connection:
        connection.execute(update(api_sessions).values(expires_at=EPOCH))
    assert token_hash_of_session(database, second) is None
    open_session(database, secret)
    with database.reading() as connection:
        assert len(connection.execute(api_sessions.select()).all()) == 1, "expired ones are cleared away"
        assert len(connection.execute(api_tokens.select()).all()) == 1


@pytest.mark.postgres
def test_the_role_of_peoples_own_sql_does_not_see_the_hashes(postgres: Database) -> None:
    add_token(postgres, "wall", Role.VIEWER)
    with pytest.raises(FramewatchError, match="api_tokens"):
        run_readonly_sql(postgres, "SELECT * FROM api_tokens", limit=1, timeout_s=5)
