"""How soon changes of cameras take effect, what they cost others, and how soon a killed ingest is replaced.

Parts of benchmarks/cameras.py.

Changes: five cameras (numbered pictures, 10 fps, H.264 over RTSP) are read while a sixth is added, changed,
disabled, enabled and removed with `framewatch camera`. Seconds run from the end of that command, by which the
database has the change, to its effect. Lost frames of the five are told by the numbers in their pictures.

Fail-over: two `framewatch ingest` share six cameras; one is killed (SIGKILL). Seconds run from then to each
orphaned camera's next frame on the queue. Frames that were published twice are told by their captured_at.

No worker runs, so that every published frame can be looked at.
"""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.types import Camera, DropReason
from tests.clips import write_clip
from tests.rtsp_server import RtspServer, encode_clip
from tests.system.fleet import Fleet
from tests.system.street import framewatch
from tests.waiting import wait_until

CLIP_FRAMES, FPS = 50, 10
FIVE = ["a", "b", "c", "d", "e"]
SIX = [*FIVE, "f"]
PATIENCE_S = 120.0


def seconds_until(condition: Callable[[], object], what: str) -> float:
    asked_at = time.monotonic()
    wait_until(condition, PATIENCE_S, what, 0.01)
    return round(time.monotonic() - asked_at, 2)


def lost_frames(fleet: Fleet, camera: str) -> int:
    """Pictures between two published ones that are missing."""
    numbers = [one.number for one in fleet.published_numbers(camera)]
    return sum((later - earlier - 1) % CLIP_FRAMES for earlier, later in pairwise(numbers))


def numbered_pictures(folder: Path) -> RtspServer:
    """A camera whose pictures say their number."""
    return RtspServer(encode_clip(write_clip(folder / "clip.mp4", frames=CLIP_FRAMES, fps=FPS)))


def measure_changes(folder: Path, redis_url: str, server: RtspServer) -> dict[str, Any]:
    """Seconds to each change's effect, and what the other five cameras lost."""
    fleet = Fleet(folder, redis_url)
    fleet.add(*(Camera(name, server.url()) for name in FIVE))
    times: dict[str, float] = {}

    def change(*words: str, effect: Callable[[], object]) -> None:
        framewatch(fleet.environment, folder, "camera", *words)
        times[words[0]] = seconds_until(effect, f"the effect of camera {words[0]}")

    with fleet.ingest("ingest") as ingest:
        fleet.wait_for_shares(5)
        family = {one.pid for one in ingest.family()}

        def is_gone() -> bool:
            return {one.pid for one in ingest.family()} == family

        def is_sampled() -> bool:
            return fleet.queue.ledger("new").dropped.get(DropReason.SAMPLED_OUT, 0) > 0

        change("add", "new", server.url(), effect=lambda: fleet.captured("new"))
        change("update", "new", "--fps", "2", effect=is_sampled)
        change("disable", "new", effect=is_gone)
        before = fleet.captured("new")
        change("enable", "new", effect=lambda: fleet.captured("new") > before)
        change("remove", "new", effect=is_gone)
        ingest.terminate()
    others = {"frames": sum(fleet.captured(name) for name in FIVE)}
    others["lost"] = sum(lost_frames(fleet, name) for name in FIVE)
    fleet.close()
    return {"seconds until it takes effect": times, "the five others": others}


def measure_fail_over(folder: Path, redis_url: str, server: RtspServer) -> dict[str, Any]:
    """Seconds without each orphaned camera, and frames that came twice."""
    fleet = Fleet(folder, redis_url)
    fleet.add(*(Camera(name, server.url()) for name in SIX))
    with fleet.ingest("first") as first, fleet.ingest("second") as second:
        fleet.wait_for_shares(3, 3)
        orphans = [camera for camera, by in fleet.readers().items() if f"-{first.pid}-" in by]
        first.kill()
        wait_until(lambda: not any(one.is_running() for one in first.family()), 10, "its cameras to end")
        seconds = fleet.seconds_until_all_publish(orphans, PATIENCE_S)
        fleet.wait_for_shares(6)
        second.terminate()
    published = {camera: fleet.published(camera) for camera in SIX}
    twice = sum(len(times) - len(set(times)) for times in published.values())
    fleet.close()
    return {
        "seconds until it sends frames again": {camera: round(value, 2) for camera, value in seconds.items()},
        "frames": sum(len(times) for times in published.values()),
        "published twice": twice,
    }
