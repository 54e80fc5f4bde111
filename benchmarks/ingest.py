"""What a camera costs, and how long it is away after a fault.

    python benchmarks/ingest.py [--video street.avi] [--seconds 60] [--json]

CPU: an RTSP server of 1080p H.264 at 25 fps (the video scaled up, a keyframe per second) feeds four readers
at once: `ffmpeg -i rtsp://.. -f null -`, which decodes every frame with one thread and throws it away, and
three `framewatch ingest` with one camera each: every frame decoded and 5 per second queued; 1 per second, for
which keyframes alone are decoded; and 5 per second with the motion gate. CPU seconds are user and system time
of the whole process tree: the camera's process and its supervisor, but not Redis. They are counted per frame
that each received, and told for a minute of 1500 frames: on a busy machine nobody gains by falling behind.

Times: a camera's first frame after `camera add`, how soon a stopped camera (SIGSTOP) counts as lost, and how
soon frames come again after it goes on, and after a restart of a killed one.

Needs ffmpeg on PATH. No worker runs: the queue drops its oldest frames, as in an overload.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
FRAMEWATCH = Path(sys.executable).parent / "framewatch"
sys.path.insert(0, str(ROOT))

from benchmarks.pipeline import machine  # noqa: E402  found through the path above
from core.camera_state import CameraActivity, CameraState, CameraStates  # noqa: E402
from core.frame_queue import FrameQueue, QueueLimits  # noqa: E402
from core.redis_client import make_redis  # noqa: E402
from core.redis_server import EmbeddedRedis  # noqa: E402

READERS: Mapping[str, tuple[str, ...]] = {
    "5 fps": ("--fps", "5"),
    "1 fps, keyframes": ("--fps", "1"),
    "5 fps, motion gate": ("--fps", "5", "--motion"),
}
FRAMES_PER_MINUTE = 25 * 60
AIMS = {"5 fps": 1.3, "1 fps, keyframes": 0.3}


class Fleet:
    """One `framewatch ingest` with a database of its own, on a shared Redis."""

    def __init__(self, folder: Path, redis_url: str, namespace: str) -> None:
        folder.mkdir()
        self._folder = folder
        self._environment = {
            **os.environ,
            "FRAMEWATCH_REDIS_URL": redis_url,
            "FRAMEWATCH_DATABASE_URL": f"sqlite:///{folder / 'history.db'}",
            "FRAMEWATCH_DATA_DIR": str(folder),
            "FRAMEWATCH_NAMESPACE": namespace,
        }
        self._states = CameraStates(make_redis(redis_url), namespace)
        self._queue = FrameQueue(make_redis(redis_url), QueueLimits(), namespace, lambda _: None)
        self.process: subprocess.Popen[bytes] | None = None
        self._run("db", "upgrade")

    def add(self, url: str, *options: str) -> None:
        self._run("camera", "add", "camera", url, *options)

    def _run(self, *words: str) -> None:
        command = [FRAMEWATCH, *words]
        done = subprocess.run(
            command, env=self._environment, cwd=self._folder, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"framewatch {' '.join(words)} failed:\n{done.stderr[-2000:]}")

    def __enter__(self) -> "Fleet":
        with (self._folder / "ingest.log").open("wb") as log:
            self.process = subprocess.Popen(
                [FRAMEWATCH, "ingest"], env=self._environment, cwd=self._folder, stdout=log, stderr=log
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)

    def captured(self) -> int:
        """Frames that came so far, also those left out undecoded."""
        return self._queue.ledger("camera").captured

    def state(self) -> CameraState | None:
        return next(iter(self._states.load()), None)

    def wait(self, condition: Callable[[CameraState], bool], what: str, timeout_s: float = 60) -> float:
        """Seconds until the camera's state is as wanted."""
        asked_at = time.monotonic()
        while time.monotonic() - asked_at < timeout_s:
            state = self.state()
            if state is not None and condition(state):
                return time.monotonic() - asked_at
            time.sleep(0.05)
        log = (self._folder / "ingest.log").read_text()[-2000:]
        raise SystemExit(f"waited {timeout_s} s in vain for {what}:\n{log}")


@contextlib.contextmanager
def rtsp_server(video: Path, port: int, *options: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A camera in a process of its own; gives its URL once it listens."""
    command = [sys.executable, "-m", "tests.rtsp_server", str(video), "--port", str(port), *options]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip(), server
    finally:
        server.kill()
        server.wait(10)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and those below it."""
    total = 0.0
    top = psutil.Process(pid)
    for process in (top, *top.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def is_live(state: CameraState) -> bool:
    return state.activity is CameraActivity.LIVE and state.fps_in > 0


def measure_cpu(video: Path, seconds: float, redis_url: str, folder: Path) -> dict[str, float]:
    """CPU seconds per minute of camera, by reader; all read at once."""
    server = ("--size", "1920x1080", "--fps", "25", "--keyframe-every", "25", "--preset", "veryfast")
    server += ("--max-frames", "200")  # eight seconds, looped: they take a while to encode
    with contextlib.ExitStack() as stack:
        url, _ = stack.enter_context(rtsp_server(video, 0, *server))
        pids: dict[str, int] = {}
        frames: dict[str, Callable[[], int]] = {}
        for number, (name, options) in enumerate(READERS.items()):
            fleet = Fleet(folder / f"fleet-{number}", redis_url, f"bench-{number}")
            fleet.add(url, *options)
            stack.enter_context(fleet)
            fleet.wait(is_live, "a live camera")
            assert fleet.process is not None
            pids[name], frames[name] = fleet.process.pid, fleet.captured
        progress = folder / "ffmpeg.progress"
        ffmpeg = subprocess.Popen(ffmpeg_command(url, progress))
        stack.callback(ffmpeg.wait)
        stack.callback(ffmpeg.kill)
        pids["ffmpeg"], frames["ffmpeg"] = ffmpeg.pid, lambda: ffmpeg_frames(progress)
        time.sleep(5)  # three keyframes, then the reader knows their interval
        before = {name: (cpu_seconds(pids[name]), frames[name]()) for name in pids}
        time.sleep(seconds)
        after = {name: (cpu_seconds(pids[name]), frames[name]()) for name in pids}
    return {
        name: (after[name][0] - before[name][0]) / (after[name][1] - before[name][1]) * FRAMES_PER_MINUTE
        for name in pids
    }


def ffmpeg_command(url: str, progress: Path) -> list[str]:
    """The yardstick: one thread, every frame decoded and thrown away."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-stats_period", "0.2", "-progress", str(progress)]
    return [*command, "-threads", "1", "-rtsp_transport", "tcp", "-i", url, "-f", "null", "-"]


def ffmpeg_frames(progress: Path) -> int:
    """Frames that it has decoded so far."""
    return int(re.findall(r"^frame=(\d+)", progress.read_text(), re.MULTILINE)[-1])


def measure_times(video: Path, redis_url: str, folder: Path) -> dict[str, float]:
    """Seconds from a camera's faults to their notice, and from its return to the next frame."""
    times: dict[str, float] = {}

    def newer_than(moment: datetime) -> Callable[[CameraState], bool]:
        return lambda state: state.last_frame_at is not None and state.last_frame_at > moment

    with Fleet(folder / "faults", redis_url, "bench-faults") as fleet:
        with rtsp_server(video, 0) as (url, server):
            fleet.add(url)
            times["first frame after camera add"] = fleet.wait(newer_than(datetime.now(UTC)), "a frame")
            server.send_signal(signal.SIGSTOP)
            stopped = fleet.wait(lambda state: state.activity is not CameraActivity.LIVE, "the stall")
            times["stopped camera noticed (stall_timeout_s is 5)"] = stopped
            server.send_signal(signal.SIGCONT)
            times["first frame after it goes on"] = fleet.wait(newer_than(datetime.now(UTC)), "a frame")
        fleet.wait(lambda state: state.activity is not CameraActivity.LIVE, "the loss")
        with rtsp_server(video, int(url.rsplit(":", 1)[1].split("/")[0])):
            times["first frame after a restart"] = fleet.wait(newer_than(datetime.now(UTC)), "a frame")
    return times


def run(video: Path, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, EmbeddedRedis(Path(name) / "redis") as redis:
        cpu = measure_cpu(video, seconds, redis.url, Path(name))
        times = measure_times(video, redis.url, Path(name))
    return {
        "video": video.name,
        "cpu_seconds_per_minute": {name: round(value, 2) for name, value in cpu.items()},
        "against_ffmpeg": {name: round(cpu[name] / cpu["ffmpeg"], 3) for name in READERS},
        "seconds": {name: round(value, 2) for name, value in times.items()},
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
    }


def show(result: dict[str, Any]) -> None:
    table = Table(title=f"1080p, 25 fps, H.264 over RTSP: {result['video']} scaled up")
    for column in ("reader", "CPU seconds per minute", "against ffmpeg", "aim"):
        table.add_column(column, justify="left" if column == "reader" else "right")
    table.add_row("ffmpeg, every frame", f"{result['cpu_seconds_per_minute']['ffmpeg']:.2f}", "", "")
    for name, ratio in result["against_ffmpeg"].items():
        aim = f"at most {AIMS[name]}" if name in AIMS else ""
        cost = result["cpu_seconds_per_minute"][name]
        table.add_row(f"framewatch ingest, {name}", f"{cost:.2f}", f"{ratio:.2f}", aim)
    console = Console()
    console.print(table)
    for name, value in result["seconds"].items():
        console.print(f"{name}: {value:.1f} s")
    console.print(f"{result['date']}, {result['machine']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--video", type=Path, default=Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long to measure")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.video.exists():
        parser.error(f"no such video: {options.video} (vtest.avi is in Debian's opencv-doc)")
    if shutil.which("ffmpeg") is None:
        parser.error("expected ffmpeg on PATH, got none (Debian's package ffmpeg)")
    result = run(options.video.resolve(), options.seconds)
    print(json.dumps(result)) if options.json else show(result)


if __name__ == "__main__":
    main()
