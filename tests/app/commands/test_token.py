import json
from datetime import UTC, datetime, timedelta

import pytest

from storage.database import Database
from storage.roles import Role
from storage.tokens import find_token, hash_secret
from tests.app.conftest import Cli


def test_a_token_is_made_shown_once_listed_and_revoked(cli: Cli, history: Database) -> None:
    made = cli("token", "add", "ops", "--role", "admin", "--lasts", "90d")
    secret = made.out.strip()
    found = find_token(history, hash_secret(secret))
    assert found is not None
    assert found.role is Role.ADMIN
    assert found.expires_at is not None
    assert timedelta(days=89) < found.expires_at - datetime.now(UTC) < timedelta(days=91)
    assert cli("token", "add", "wall").code == 0
    listed = cli("token", "list", "--json").out
    assert [(token["name"], token["role"]) for token in json.loads(listed)] == [
        ("ops", "admin"),
        ("wall", "viewer"),
    ]
    assert secret not in listed + cli("token", "list").out
    assert hash_secret(secret) not in listed
    assert cli("token", "revoke", "ops").code == 0
    assert find_token(history, hash_secret(secret)) is None


@pytest.mark.parametrize("lasts", ["soon", "0d", "-1d", "90", "99999w"])
def test_a_wrong_time_is_one_line(cli: Cli, history: Database, lasts: str) -> None:
    done = cli("token", "add", "ops", f"--lasts={lasts}")
    assert done.code == 2
    assert "--lasts: expected a time such as 12h" in done.error


def test_an_unknown_or_taken_name_is_one_line(cli: Cli, history: Database) -> None:
    assert "none so far" in cli("token", "revoke", "nobody").error
    assert cli("token", "add", "wall").code == 0
    assert "token revoke wall" in cli("token", "add", "wall").error
