"""Several `framewatch ingest` on the same cameras: shared, handed over, taken over."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.camera_leases import ingest_processes
from core.types import Camera
from storage.cameras import change_camera
from tests.clips import write_clip
from tests.rtsp_server import RtspServer, encode_clip
from tests.system.fleet import NAMESPACE, START_TIMEOUT_S, Fleet
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.redis]

SIX = ["a", "b", "c", "d", "e", "f"]
TAKEN_OVER_WITHIN_S = 10.0


@pytest.fixture
def cameras(tmp_path: Path) -> Iterator[RtspServer]:
    clip = write_clip(tmp_path / "clip.mp4", frames=50, fps=10)
    with RtspServer(encode_clip(clip)) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str, cameras: RtspServer) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, redis_url)
    fleet.add(*(Camera(name, cameras.url()) for name in SIX))
    yield fleet
    fleet.close()


def test_frozen_and_killed_processes_are_followed_within_seconds_and_no_frame_comes_twice(
    fleet: Fleet, cameras: RtspServer
) -> None:
    with fleet.ingest("first") as first, fleet.ingest("second") as second:
        fleet.wait_for_shares(3, 3)

        # A change is made by whoever reads the camera, and moves none.
        readers = fleet.readers()
        change_camera(fleet.database, "b", lambda camera: replace(camera, fps=2))
        wait_until(lambda: fleet.queue.ledger("b").dropped_total, 15, "b at its new rate")
        wait_until(lambda: fleet.readers() == readers, 15, "b live again, at the same process")

        # One that is frozen for longer than its lease publishes nothing more when it wakes up.
        first.freeze()
        fleet.wait_for_shares(6)
        frozen = {one.pid for one in first.family()}
        assert len(frozen) == 3
        thawed_at = datetime.now(UTC)
        first.thaw()
        wait_until(
            lambda: len(new := {one.pid for one in first.family()}) == 3 and not new & frozen,
            20,
            "new camera processes in place of the late ones",
        )
        # What the late ones last said of themselves counts for nothing.
        wait_until(lambda: fleet.live_at(first.pid, thawed_at) == 3, START_TIMEOUT_S, "three live again")
        fleet.wait_for_shares(3, 3)

        # One that is killed.
        readers = fleet.readers()
        victim = next(name for name in set(readers.values()) if f"-{first.pid}-" in name)
        orphans = [camera for camera, by in readers.items() if by == victim]
        kept = {camera: fleet.state(camera) for camera in SIX if camera not in orphans}
        first.kill()
        wait_until(lambda: not any(one.is_running() for one in first.family()), 5, "its cameras to end")
        after = fleet.seconds_until_all_publish(orphans, TAKEN_OVER_WITHIN_S)
        print("live again after", {camera: round(seconds, 1) for camera, seconds in after.items()})
        fleet.wait_for_shares(6)
        for camera, before in kept.items():
            now = fleet.state(camera)
            assert now is not None
            assert before is not None
            assert (now.since, now.reconnects) == (before.since, before.reconnects), "it was touched"
        assert f"taken over from {victim}, which fell silent" in second.log

        # One that leaves in order is followed at once.
        assert second.terminate() == 0
        assert ingest_processes(fleet.client, NAMESPACE) == []
    fleet.assert_nothing_was_published_twice(SIX)
