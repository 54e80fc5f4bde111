"""How soon changes of cameras take effect, what they cost others, and how soon a killed ingest is replaced.

    python benchmarks/cameras.py [--json]

Changes: five cameras (numbered pictures, 10 fps, H.264 over RTSP) are read while a sixth is added, changed,
disabled, enabled and removed with `framewatch camera`. Seconds run from the end of that command, by which the
database has the change, to its effect. Lost frames of the five are told by the numbers in their pictures.

Fail-over: two `framewatch ingest` share six cameras; one is killed (SIGKILL). Seconds run from then to each
orphaned camera's next frame on the queue. Frames that were published twice are told by their captured_at.

No worker runs, so that every published frame can be looked at.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.pipeline import machine
from core.redis_server import EmbeddedRedis
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


def measure_changes(folder: Path, redis_url: str, server: RtspServer) -> dict[str, Any]:
    """Seconds to each change's effect, and what the other five cameras lost."""
    folder.mkdir()
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
    return {"seconds_to_effect": times, "other_five": others}


def measure_fail_over(folder: Path, redis_url: str, server: RtspServer) -> dict[str, Any]:
    """Seconds without each orphaned camera, and frames that came twice."""
    folder.mkdir()
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
        "seconds_until_live_again": {camera: round(value, 2) for camera, value in seconds.items()},
        "frames": sum(len(times) for times in published.values()),
        "published_twice": twice,
    }


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, EmbeddedRedis(Path(name) / "redis") as redis:
        folder = Path(name)
        clip = encode_clip(write_clip(folder / "clip.mp4", frames=CLIP_FRAMES, fps=FPS))
        with RtspServer(clip) as server:
            changes = measure_changes(folder / "changes", redis.url, server)
            fail_over = measure_fail_over(folder / "fail-over", redis.url, server)
    date = datetime.now(UTC).date().isoformat()
    return {"changes": changes, "fail_over": fail_over, "date": date, "machine": machine()}


def show(result: dict[str, Any]) -> None:
    changes, fail_over = result["changes"], result["fail_over"]
    table = Table("what happens", "seconds", "aim")
    for word, value in changes["seconds_to_effect"].items():
        table.add_row(f"camera {word}, until it takes effect", f"{value:.1f}", "at most 2")
    for camera, value in fail_over["seconds_until_live_again"].items():
        table.add_row(f"its ingest killed, until {camera} sends frames again", f"{value:.1f}", "at most 10")
    console = Console()
    console.print(table)
    five = changes["other_five"]
    console.print(f"five other cameras during the changes: {five['lost']} of {five['frames']} frames lost")
    console.print(
        f"fail-over: {fail_over['published_twice']} of {fail_over['frames']} frames published twice"
    )
    console.print(f"{result['date']}, {result['machine']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = run()
    print(json.dumps(result)) if options.json else show(result)


if __name__ == "__main__":
    main()
