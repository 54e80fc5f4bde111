"""The thread that keeps an ingest process's leases alive."""

from collections.abc import Iterator

import pytest

from core.camera_leases import CameraLeases
from core.redis_client import make_redis
from core.redis_server import EmbeddedRedis
from ingest.lease_keeper import LeaseKeeper
from tests.ingest.conftest import NAMESPACE
from tests.waiting import wait_until

pytestmark = pytest.mark.redis
LEASE_S = 1.0


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A server of its own, without memory, to be killed."""
    with EmbeddedRedis(None) as server:
        yield server


def make_keeper(server: EmbeddedRedis, name: str) -> LeaseKeeper:
    return LeaseKeeper(CameraLeases(make_redis(server.url), NAMESPACE, name, LEASE_S))


def test_a_lone_process_goes_on_while_redis_is_away_and_after(server: EmbeddedRedis, caplog) -> None:
    keeper = make_keeper(server, "p1")
    keeper.want(["a", "b"])
    wait_until(lambda: len(keeper.readable()) == 2, 5, "both cameras")
    before = dict(keeper.readable())
    server.kill()
    wait_until(lambda: "the cameras go on" in caplog.text, 10, "the outage to be noticed")
    with pytest.raises(AssertionError):
        wait_until(lambda: dict(keeper.readable()) != before, 2.5 * LEASE_S, "a camera given up")
    server.start()
    keeper.want(["a", "b", "c"])
    wait_until(lambda: set(keeper.readable()) == {"a", "b", "c"}, 10, "Redis is back")
    assert {name: keeper.readable()[name] for name in before} == before
    keeper.close()


def test_of_several_one_that_cannot_reach_redis_gives_up_its_cameras(server: EmbeddedRedis, caplog) -> None:
    keepers = [make_keeper(server, name) for name in ("p1", "p2")]
    for keeper in keepers:
        keeper.want(["a", "b"])

    def give_up_what_is_asked_for() -> bool:
        for keeper in keepers:
            keeper.release(keeper.held() - keeper.readable().keys())
        return [len(keeper.readable()) for keeper in keepers] == [1, 1]

    wait_until(give_up_what_is_asked_for, 10, "one camera each")
    server.kill()
    wait_until(lambda: not any(keeper.readable() for keeper in keepers), 10 * LEASE_S, "all given up")
    assert "other ingest processes may have the cameras; stopping them here" in caplog.text
    server.start()
    wait_until(lambda: sorted(len(keeper.readable()) for keeper in keepers) == [1, 1], 10, "as before")
    for keeper in keepers:
        keeper.close()


def test_a_camera_is_released_and_taken_by_the_other(server: EmbeddedRedis) -> None:
    first = make_keeper(server, "p1")
    first.want(["a"])
    wait_until(first.readable, 5, "the lease")
    second = make_keeper(server, "p2")
    second.want(["a"])
    first.want([])
    assert first.held() == {"a"}, "held until its process has ended"
    first.release(["a"])
    assert first.readable() == {}
    wait_until(second.readable, 5, "the other's lease")
    first.close()
    second.close()
