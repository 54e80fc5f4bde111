"""Cameras are added, changed, disabled and removed while five others are read: these lose no frame."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from core.camera_state import CameraActivity
from core.types import Camera, DropReason
from tests.clips import write_clip
from tests.rtsp_server import RtspServer, encode_clip
from tests.system.fleet import Fleet
from tests.system.street import framewatch
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.redis]

OTHERS = ["a", "b", "c", "d", "e"]
CLIP_FRAMES = 50
TAKES_EFFECT_WITHIN_S = 15.0
"""2 s on a machine with nothing else to do, which benchmarks/cameras.py shows; this one may be busy."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    with RtspServer(encode_clip(write_clip(tmp_path / "clip.mp4", frames=CLIP_FRAMES, fps=10))) as server:
        yield server


def test_five_cameras_lose_no_frame_while_a_sixth_comes_changes_and_goes(
    tmp_path: Path, redis_url: str, server: RtspServer
) -> None:
    fleet = Fleet(tmp_path, redis_url)
    fleet.add(*(Camera(name, server.url()) for name in OTHERS))

    def camera(*words: str) -> None:
        framewatch(fleet.environment, tmp_path, "camera", *words)

    def within_seconds(condition: Callable[[], object], what: str) -> None:
        asked_at = time.monotonic()
        wait_until(condition, TAKES_EFFECT_WITHIN_S, what)
        print(f"{what}: after {time.monotonic() - asked_at:.1f} s")

    with fleet.ingest("ingest") as ingest:
        fleet.wait_for_shares(5)
        wait_until(lambda: all(fleet.captured(name) > 20 for name in OTHERS), 60, "frames of all five")
        before = {name: fleet.state(name) for name in OTHERS}
        family = {one.pid for one in ingest.family()}

        camera("add", "new", server.url())
        within_seconds(lambda: fleet.captured("new"), "the first frame of an added camera")
        camera("update", "new", "--fps", "2")
        within_seconds(
            lambda: fleet.queue.ledger("new").dropped.get(DropReason.SAMPLED_OUT), "its new frame rate"
        )
        camera("disable", "new")
        within_seconds(lambda: fleet.state("new") is None, "the end of a disabled camera")
        camera("enable", "new")
        within_seconds(lambda: fleet.readers().get("new"), "an enabled camera live again")
        camera("remove", "new")
        within_seconds(lambda: {one.pid for one in ingest.family()} == family, "the end of a removed camera")

        after = {name: fleet.state(name) for name in OTHERS}
        seen = {name: fleet.captured(name) for name in OTHERS}
        wait_until(lambda: all(fleet.captured(name) > seen[name] for name in OTHERS), 30, "frames afterwards")
        assert ingest.terminate() == 0
    for name in OTHERS:
        was, now = before[name], after[name]
        assert was is not None
        assert now is not None
        assert (now.activity, now.since, now.reconnects) == (CameraActivity.LIVE, was.since, 0), "touched"
        numbers = fleet.published_numbers(name)
        lost = [(one, two) for one, two in pairwise(numbers) if (one.number + 1) % CLIP_FRAMES != two.number]
        assert not lost, f"{name} lost frames"
        assert max(two.captured_at - one.captured_at for one, two in pairwise(numbers)) < 4, "a whole round"
        ledger = fleet.queue.ledger(name)
        assert (ledger.captured, ledger.dropped_total, ledger.balance) == (len(numbers), 0, 0)
    fleet.close()
