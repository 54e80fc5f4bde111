"""One subscription for all viewers, against a real server."""

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.live_hub import LiveHub
from core.live_view import LiveBox, LiveFrame, LiveView
from core.redis_client import make_redis
from tests.waiting import wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def view(redis_url: str) -> Iterator[LiveView]:
    with make_redis(redis_url) as client:
        yield LiveView(client, "test")


@pytest.fixture
def hub(view: LiveView) -> Iterator[LiveHub]:
    hub = LiveHub(lambda: view)
    yield hub
    hub.close()
    assert not threads()


def frame(camera: str, index: int) -> LiveFrame:
    boxes = (LiveBox("person", 0.9, 1, 2, 3, 4),)
    return LiveFrame(camera, index, datetime.now(UTC), (64, 48), b"jpeg", boxes, "tiny")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "live-hub"]


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 60))


async def publish_until(done: "asyncio.Future[Any]", view: LiveView, *frames: LiveFrame) -> None:
    """Again and again: what is published before a viewer has subscribed is lost to it."""
    while not done.done():
        await asyncio.to_thread(view.publish, frames)
        await asyncio.wait([done], timeout=0.05)


def test_a_viewer_gets_the_last_frames_at_once_and_then_those_to_come(hub: LiveHub, view: LiveView) -> None:
    view.publish([frame("gate", 1), frame("yard", 2)])

    async def main() -> None:
        stream = hub.frames(["gate", "yard"])
        first = [await anext(stream), await anext(stream)]
        assert {(one.camera, one.index) for one in first} == {("gate", 1), ("yard", 2)}
        next_one = asyncio.ensure_future(anext(stream))
        await publish_until(next_one, view, frame("yard", 3))
        assert next_one.result() == replace(frame("yard", 3), captured_at=next_one.result().captured_at)
        await stream.aclose()

    run(main())


def test_viewers_get_their_own_cameras_over_one_subscription(hub: LiveHub, view: LiveView) -> None:
    async def main() -> None:
        gate, yard = hub.frames(["gate"]), hub.frames(["yard"])
        seen = asyncio.gather(anext(gate), anext(yard))
        await publish_until(seen, view, frame("gate", 1), frame("yard", 2))
        assert [one.camera for one in seen.result()] == ["gate", "yard"]
        assert len(threads()) == 1
        await gate.aclose()
        await yard.aclose()

    run(main())
    wait_until(lambda: not threads(), 30, "the subscription ends with its last viewer")


def test_a_slow_viewer_skips_frames_and_gets_the_newest(hub: LiveHub, view: LiveView) -> None:
    async def main() -> None:
        stream = hub.frames(["gate"])
        for _ in range(2):  # the first may be the last one kept; the second comes over the subscription
            one = asyncio.ensure_future(anext(stream))
            await publish_until(one, view, frame("gate", 0))
        await asyncio.to_thread(view.publish, [frame("gate", index) for index in range(1, 100)])
        seen = []
        while not seen or seen[-1] != 99:
            seen.append((await anext(stream)).index)
            time.sleep(0.1)  # a busy loop: nothing is taken meanwhile
        assert len(seen) < 50
        await stream.aclose()

    run(main())


def test_a_message_that_cannot_be_read_is_no_end(
    hub: LiveHub,
    view: LiveView,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("app.live_hub.RETRY_EVERY_S", 0.05)
    channel = view._channel("gate")

    async def main() -> None:
        stream = hub.frames(["gate"])
        waiting = asyncio.ensure_future(anext(stream))
        with make_redis(redis_url) as client:
            while not await asyncio.to_thread(client.publish, channel, b"\x00\x00\x00\x02no frame"):
                await asyncio.sleep(0.02)
        await publish_until(waiting, view, frame("gate", 5))
        assert waiting.result().index == 5
        await stream.aclose()

    run(main())
    assert "live frames are tried again" in caplog.text


def test_viewers_end_with_the_server(hub: LiveHub, view: LiveView) -> None:
    view.publish([frame("gate", 1)])

    async def main() -> None:
        stream = hub.frames(["gate"])
        assert (await anext(stream)).index == 1
        waiting = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0)
        hub.end_viewers()
        assert await waiting is None

    run(main())


def test_a_viewer_marks_its_cameras_as_watched(hub: LiveHub, view: LiveView) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(anext(hub.frames(["gate"])))
        while not (await asyncio.to_thread(view.watched, ["gate"]))["gate"]:
            await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run(main())


def test_frames_go_on_when_redis_is_back(view: LiveView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.live_hub.RETRY_EVERY_S", 0.05)
    used = [LiveView(make_redis("redis://127.0.0.1:1/0"), "test")]
    hub = LiveHub(lambda: used[-1])

    async def main() -> None:
        stream = hub.frames(["gate"])
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()
        used.append(view)
        await publish_until(waiting, view, frame("gate", 3))
        assert waiting.result().index == 3
        await stream.aclose()

    run(main())
    hub.close()
