import pytest
import redis

from core.errors import QueueRefusedError, QueueUnavailableError, SettingsError
from core.redis_client import make_redis, redis_errors, without_password

pytestmark = pytest.mark.redis


def test_a_client_answers_bytes(redis_url: str) -> None:
    with make_redis(redis_url) as client:
        client.set("key", "value")
        assert client.get("key") == b"value"


def test_a_connection_that_the_server_closed_is_replaced_silently(redis_url: str) -> None:
    with make_redis(redis_url) as client, make_redis(redis_url) as other:
        client.ping()
        other.client_kill_filter(_id=client.client_id())
        assert client.ping()


@pytest.mark.parametrize(
    "url",
    ["http://u:secret@host", "nonsense", "redis://u:secret@host:port", "unix://u:secret@/run/redis.sock"],
)
def test_a_url_that_is_none_is_refused_in_one_line_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"expected redis://HOST:PORT/DB") as caught:
        make_redis(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with (
        make_redis("redis://127.0.0.1:1") as client,
        pytest.raises(QueueUnavailableError, match="cannot be reached"),
        redis_errors(),
    ):
        client.ping()


@pytest.mark.parametrize(
    "answer",
    [
        redis.BusyLoadingError("Redis is loading the dataset in memory"),
        redis.ReadOnlyError("You can't write against a read only replica."),
        redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        redis.ResponseError("Error running script: @user_script:3: -OOM command not allowed"),
        redis.TimeoutError("Timeout reading from socket"),
    ],
)
def test_answers_of_a_server_that_cannot_serve_now_are_unavailable(answer: redis.RedisError) -> None:
    with pytest.raises(QueueUnavailableError), redis_errors():
        raise answer


def test_a_refused_login_is_told_from_a_server_that_is_away(redis_url: str) -> None:
    wrong = redis_url.replace("redis://", "redis://someone:wrong@")
    with (
        make_redis(wrong) as client,
        pytest.raises(QueueRefusedError, match="refuses the login"),
        redis_errors(),
    ):
        client.ping()


@pytest.mark.parametrize("forbidden", ["-@scripting", "-lpush"])
def test_a_user_who_may_not_do_it_for_now_is_refused(redis_url: str, forbidden: str) -> None:
    with make_redis(redis_url) as admin:
        admin.execute_command("ACL", "SETUSER", "clerk", "on", ">word", "~*", "+@all", forbidden)
    try:
        with (
            make_redis(redis_url.replace("redis://", "redis://clerk:word@")) as client,
            pytest.raises(QueueRefusedError, match="refuses the login"),
            redis_errors(),
        ):
            client.eval("return redis.call('LPUSH', KEYS[1], 'x')", 1, "list")
    finally:
        with make_redis(redis_url) as admin:
            admin.acl_deluser("clerk")


def test_a_fault_of_ours_passes_as_it_is(redis_url: str) -> None:
    with make_redis(redis_url) as client:
        client.set("text", "value")
        with pytest.raises(redis.ResponseError, match="wrong kind"), redis_errors():
            client.lpush("text", 1)


def test_passwords_are_blotted_out_of_urls() -> None:
    assert without_password("redis://me:pass@word@host:1/0") == "redis://***@host:1/0"
    assert without_password("redis://host:1/0") == "redis://host:1/0"
