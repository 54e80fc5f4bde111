import json
from collections.abc import Iterator

import pytest

from core.frame_queue import FrameQueue, QueueLimits
from core.redis_client import make_redis
from tests.app.conftest import Cli
from tests.core.queue_rig import LIVE, MODEL, make_frame

pytestmark = pytest.mark.redis


@pytest.fixture
def queue(redis_url: str) -> Iterator[FrameQueue]:
    """Three frames of the gate, all given up at once."""
    client = make_redis(redis_url)
    queue = FrameQueue(client, QueueLimits(max_deliveries=1), "framewatch", lambda model: None)
    for index in range(3):
        queue.publish(make_frame(index), LIVE)
    for claimed in queue.claim(MODEL, "worker", 8, 0.0):
        queue.fail(MODEL, claimed, f"frame {claimed.frame.index} broke")
    yield queue
    client.close()


def test_dead_letters_are_listed_with_their_error(cli: Cli, queue: FrameQueue, redis_url: str) -> None:
    letters = json.loads(cli("dead", "list", "--redis-url", redis_url, "--json").out)
    assert [letter["error"] for letter in letters] == [f"frame {index} broke" for index in range(3)]
    assert {letter["camera"] for letter in letters} == {"gate"}
    table = cli("dead", "list", "--redis-url", redis_url, "-n", "1").out
    assert "frame 2 broke" in table
    assert "frame 1 broke" not in table
    assert cli("dead", "list", "--redis-url", redis_url, "--of-model", "other").err == "no dead letters\n"


def test_one_dead_letter_is_replayed_and_the_others_dropped(
    cli: Cli, queue: FrameQueue, redis_url: str
) -> None:
    first = queue.dead_letters()[0].id
    assert cli("dead", "replay", first, "--redis-url", redis_url).err == "1 of 1 dead letters replayed\n"
    assert queue.ledger("gate").in_flight == 1
    assert cli("dead", "drop", "--all", "--redis-url", redis_url).err == "2 dead letters dropped\n"
    assert queue.dead_letters() == []
    assert queue.ledger("gate").balance == 0


def test_letters_that_have_no_room_stay_and_are_told(
    cli: Cli, queue: FrameQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEWATCH_CAMERA_MAX_FRAMES", "2")
    said = cli("dead", "replay", "--all", "--redis-url", redis_url).err
    assert said.startswith("2 of 3 dead letters replayed\n1 stay, ")
    assert "camera_max_frames=2" in said
    assert len(queue.dead_letters()) == 1


@pytest.mark.parametrize("command", ["replay", "drop"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "ids of dead letters or --all, got neither"),
        (["1-0", "--all"], "got both"),
        (["9-9"], "no dead letter 9-9"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    cli: Cli, queue: FrameQueue, redis_url: str, command: str, words: list[str], message: str
) -> None:
    done = cli("dead", command, *words, "--redis-url", redis_url)
    assert done.code == 2
    assert message in done.error
    assert len(queue.dead_letters()) == 3
