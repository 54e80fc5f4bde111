"""What cameras do in the field, done to a real `framewatch ingest`: for tests, and benchmarks/cameras.py.

Every fault strikes a camera of its own, all at the same moment, and all are mended at the same moment. When a
camera was lost and when it was live again is what ingest itself wrote into `camera_events`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from core.camera_state import CameraActivity, CameraEvent
from core.types import Camera
from storage.camera_events import list_camera_events
from tests.clips import write_clip
from tests.rtsp_server import EncodedClip, Fault, RtspServer, encode_clip
from tests.system.fleet import START_TIMEOUT_S, Fleet
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
LOST = (CameraActivity.BACKING_OFF, CameraActivity.REFUSED)
STALL_TIMEOUT_S = 5.0
REFUSED_WAIT_S = 0.5
"""Which doubles up to 8 s; with the default, a minute up to 16, only a changed camera is tried at once."""


class CameraProcess:
    """A camera that can be stopped and killed: the RTSP server in a process of its own."""

    def __init__(self, clip: Path) -> None:
        self._clip, self._port = clip, 0
        self.url = ""
        self.start()

    def start(self) -> None:
        """On the same port as before; returns once it listens."""
        command = [sys.executable, "-m", "tests.rtsp_server", str(self._clip), "--port", str(self._port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self._port = int(self.url.rsplit(":", 1)[1].split("/")[0])

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass(frozen=True)
class Trial:
    """One fault: a camera, how it strikes, and how it is mended."""

    url: str
    strike: Callable[[], object]
    mend: Callable[[], object]


@dataclass(frozen=True)
class FaultFigures:
    """What became of one camera."""

    noticed_s: float | None
    """From the fault to "lost"; None: it was never lost."""
    back_s: float | None
    """From the camera's return to its first picture; None: it was live all the time."""

    def as_json(self) -> dict[str, Any]:
        return {
            name: None if value is None else round(value, 2)
            for name, value in (("noticed_s", self.noticed_s), ("back_s", self.back_s))
        }


@contextlib.contextmanager
def _trials(clip: Path, folder: Path) -> Iterator[dict[str, Trial]]:
    usual, larger = encode_clip(clip), encode_clip(clip, size=(640, 480))
    hevc = encode_clip(clip, codec="hevc")
    with contextlib.ExitStack() as stack:

        def server(**options: Any) -> RtspServer:
            return stack.enter_context(RtspServer(usual, **options))

        def process() -> CameraProcess:
            return stack.enter_context(contextlib.closing(CameraProcess(clip)))

        frozen, garbage, restarted, resized, recoded = (server() for _ in range(5))
        refusing, stopped, killed = server(users={"viewer": "right"}), process(), process()
        yield {
            "frozen": Trial(
                frozen.url(), lambda: _set(frozen, Fault.FREEZE), lambda: _set(frozen, Fault.NONE)
            ),
            "stopped": Trial(
                stopped.url,
                lambda: stopped.signal(signal.SIGSTOP),
                lambda: stopped.signal(signal.SIGCONT),
            ),
            "killed": Trial(killed.url, killed.close, killed.start),
            "restarted": Trial(restarted.url(), lambda: _restart(restarted), lambda: None),
            "refusing": Trial(
                refusing.url("viewer", "${CAM_PASSWORD}"),
                lambda: _set_password(refusing, "changed"),
                lambda: _set_password(refusing, "right"),
            ),
            "garbage": Trial(
                garbage.url(), lambda: _set(garbage, Fault.GARBAGE), lambda: _set(garbage, Fault.NONE)
            ),
            "other resolution": Trial(resized.url(), lambda: _set_clip(resized, larger), lambda: None),
            "other codec": Trial(recoded.url(), lambda: _set_clip(recoded, hevc), lambda: None),
        }


def _set(server: RtspServer, fault: Fault) -> None:
    server.fault = fault


def _set_clip(server: RtspServer, clip: EncodedClip) -> None:
    server.clip = clip


def _set_password(server: RtspServer, password: str) -> None:
    server.set_users({"viewer": password})
    server.drop_clients()


def _restart(server: RtspServer) -> None:
    server.stop()
    server.start()


def strike_and_mend(folder: Path, redis_url: str, away_s: float = 3.0) -> dict[str, FaultFigures]:
    """Figures of every fault. `away_s` is how long the cameras stay away after the last one was noticed."""
    clip = write_clip(folder / "clip.mp4", frames=50)
    settings = {"stall_timeout_s": STALL_TIMEOUT_S, "refused_wait_s": REFUSED_WAIT_S}
    fleet = Fleet(folder, redis_url, **settings)
    with (
        contextlib.closing(fleet),
        _trials(clip, folder) as trials,
        fleet.ingest("faults", CAM_PASSWORD="right"),
    ):
        fleet.add(
            *(Camera(_name(fault), trial.url, fps=5, max_age_s=None) for fault, trial in trials.items())
        )
        fleet.wait_for_shares(len(trials))
        strikes = _all_at_once({fault: trial.strike for fault, trial in trials.items()})
        struck = {fault: began_at for fault, (began_at, _) in strikes.items()}

        def lost() -> dict[str, CameraEvent | None]:
            return {fault: _first(fleet, fault, struck[fault], LOST) for fault in trials}

        surely = trials.keys() - {"other resolution"}
        wait_until(
            lambda: all(lost()[fault] for fault in surely), 4 * STALL_TIMEOUT_S + 20, "all losses", 0.1
        )
        time.sleep(away_s)  # the cameras' own time, not a wait of the test
        mends = _all_at_once({fault: trial.mend for fault, trial in trials.items()})
        mended = {fault: ended_at for fault, (_, ended_at) in mends.items()}
        mended |= {fault: strikes[fault][1] for fault in ("restarted", "other codec")}  # never away

        def back() -> dict[str, CameraEvent | None]:
            return {fault: _first(fleet, fault, mended[fault], (CameraActivity.LIVE,)) for fault in surely}

        wait_until(lambda: all(back().values()), 60, "all cameras to be live again", 0.1)
        before = {fault: fleet.captured(_name(fault)) for fault in trials}
        wait_until(
            lambda: all(fleet.captured(_name(fault)) > before[fault] + 25 for fault in trials),
            START_TIMEOUT_S,
            "frames of all cameras",
        )
        _assert_sizes(fleet)
        lost_at, back_at = lost(), back()
        return {
            fault: FaultFigures(
                _seconds(struck[fault], lost_at[fault]), _seconds(mended[fault], back_at.get(fault))
            )
            for fault in trials
        }


def _name(fault: str) -> str:
    return fault.replace(" ", "-")


def _all_at_once(steps: dict[str, Callable[[], object]]) -> dict[str, tuple[datetime, datetime]]:
    """When each step began and ended; a restart that takes a second delays no other step."""
    done: dict[str, tuple[datetime, datetime]] = {}

    def run(fault: str) -> None:
        began_at = datetime.now(UTC)
        steps[fault]()
        done[fault] = (began_at, datetime.now(UTC))

    threads = [threading.Thread(target=run, args=(fault,)) for fault in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return done


def _first(
    fleet: Fleet, fault: str, since: datetime, kinds: tuple[CameraActivity, ...]
) -> CameraEvent | None:
    events = list_camera_events(fleet.database, _name(fault), since)
    return next((event for event in events if event.at >= since and event.activity in kinds), None)


def _seconds(since: datetime, event: CameraEvent | None) -> float | None:
    return None if event is None else (event.at - since).total_seconds()


def _assert_sizes(fleet: Fleet) -> None:
    """After another resolution, frames tell their new size, in the same connection."""
    state = fleet.state("other-resolution")
    assert state is not None
    assert state.reconnects == 0
    claimed = fleet.queue.claim(fleet.model, "faults", 100_000, 0.0)
    sizes = [one.frame.source_size for one in claimed if one.frame.camera == "other-resolution"]
    assert (sizes[0], sizes[-1]) == ((320, 240), (640, 480)), sizes
    assert len(set(sizes)) == 2


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    descriptors: int
    threads: int
    children: int
    rss_bytes: int

    @classmethod
    def by(cls, process: psutil.Process) -> "Held":
        with process.oneshot():
            rss = process.memory_info().rss
            return cls(process.num_fds(), process.num_threads(), len(process.children()), rss)


@dataclass(frozen=True)
class ReconnectFigures:
    """What the camera's process and its supervisor held after the first and after the last reconnects."""

    reconnects: int
    seconds: float
    camera: tuple[Held, Held]
    supervisor: tuple[Held, Held]


def reconnect_often(folder: Path, redis_url: str, count: int, warm_up: int) -> ReconnectFigures:
    """Loses a camera `warm_up` and then `count` times: cut off, and switched off and on, in turn."""
    clip = write_clip(folder / "clip.mp4", frames=50)
    fleet = Fleet(folder, redis_url, reconnect_min_s=0.05, reconnect_max_s=0.1)
    with (
        contextlib.closing(fleet),
        RtspServer(encode_clip(clip)) as server,
        fleet.ingest("reconnects") as ingest,
    ):
        fleet.add(Camera("gate", server.url(), fps=5))
        fleet.wait_for_shares(1)
        (camera,), supervisor = ingest.family(), psutil.Process(ingest.pid)
        for number in range(warm_up):
            _lose_once(fleet, server, number)
        first, started = (Held.by(camera), Held.by(supervisor)), time.monotonic()
        for number in range(count):
            _lose_once(fleet, server, number)
        seconds = time.monotonic() - started
        last = (Held.by(camera), Held.by(supervisor))
        state = wait_until(lambda: fleet.state("gate"), 5, "the camera's state")
        wait_until(lambda: _reconnects(fleet) >= count + warm_up, 10, f"the last reconnect; {state}")
    return ReconnectFigures(count, seconds, (first[0], last[0]), (first[1], last[1]))


def _reconnects(fleet: Fleet) -> int:
    state = fleet.state("gate")
    return state.reconnects if state else 0


def _lose_once(fleet: Fleet, server: RtspServer, number: int) -> None:
    connections = server.connections
    if number % 2:
        server.stop()
        server.start()
    else:
        server.drop_clients()
    wait_until(lambda: server.connections > connections, 20, "the camera to be opened anew")
    before = fleet.captured("gate")
    wait_until(lambda: fleet.captured("gate") > before + 5, 20, "frames of the new connection")
