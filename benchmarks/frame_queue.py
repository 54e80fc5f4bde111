"""What the frame queue costs: CPU seconds per 1000 frames and the time from publish to acknowledgement.

    python benchmarks/frame_queue.py [--rounds 5] [--json]

A publisher process sends 60 KB frames of several cameras to a real Redis server; a real Celery worker takes
them in batches through a detector that sleeps 15 ms + 2 ms per frame. JPEG coding, inference and SQL are left
out on purpose: what remains is what publisher, worker and Redis spend on moving frames. CPU is user + system
time of the three processes. Burst: the next frame follows as soon as the queue has room. Paced: 200 frames/s.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from core.frame_queue import CameraQueue, FrameQueue, QueueLimits  # noqa: E402  found through the path above
from core.redis_client import make_redis  # noqa: E402
from core.redis_server import EmbeddedRedis  # noqa: E402
from core.types import Policy, QueuedFrame  # noqa: E402
from workers.bell import ring  # noqa: E402

MODEL = "sleep"
NAMESPACE = "benchmark"
FRAME_BYTES = 60_000
CAMERAS = 8
PACED_FPS = 200.0
AIMS = {"burst_cpu_s": 0.5, "paced_cpu_s": 1.3, "paced_p99_ms": 60.0}


@dataclass(frozen=True)
class Round:
    """One measured run of one kind; CPU seconds are per 1000 frames."""

    kind: str
    fps: float
    publisher_s: float
    worker_s: float
    redis_s: float
    p50_ms: float
    p99_ms: float

    @property
    def cpu_s(self) -> float:
        return self.publisher_s + self.worker_s + self.redis_s


def make_queue(redis_url: str) -> FrameQueue:
    bell = partial(ring, redis_url=redis_url, namespace=NAMESPACE)
    return FrameQueue(make_redis(redis_url), QueueLimits(), NAMESPACE, bell)


def publish(redis_url: str, frames: int, fps: float) -> None:
    """The publisher process; fps 0 means as fast as there is room. Prints its CPU seconds."""
    queue = make_queue(redis_url)
    camera = CameraQueue(MODEL, Policy.WAIT)
    jpeg = os.urandom(FRAME_BYTES)
    queue.models()  # connects
    before, start = time.process_time(), time.perf_counter()
    for index in range(frames):
        if fps:
            time.sleep(max(0.0, start + index / fps - time.perf_counter()))
        name = f"camera-{index % CAMERAS}"
        queue.publish(QueuedFrame(name, index, datetime.now(UTC), jpeg, (640, 480), 1.0), camera)
    print(time.process_time() - before)


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def in_flight(queue: FrameQueue) -> int:
    return sum(depth.frames for depth in queue.depth(MODEL))


def measure(kind: str, frames: int, worker_pid: int, redis: EmbeddedRedis, latencies: Path) -> Round:
    """Publishes, waits for the last acknowledgement and reads the clocks."""
    queue, written = make_queue(redis.url), latencies.stat().st_size
    assert redis.pid is not None
    worker, server, started = cpu_s(worker_pid), cpu_s(redis.pid), time.perf_counter()
    fps = PACED_FPS if kind == "paced" else 0.0
    command = [sys.executable, __file__, "--publish", redis.url, str(frames), str(fps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    while in_flight(queue):
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    worker, server = cpu_s(worker_pid) - worker, cpu_s(redis.pid) - server
    with latencies.open() as file:
        file.seek(written)
        ages = sorted(float(word) for word in file.read().split())
    assert len(ages) == frames, f"expected {frames} acknowledgements, got {len(ages)}"
    per_1000 = 1000 / frames
    return Round(
        kind,
        fps=frames / seconds,
        publisher_s=float(done.stdout) * per_1000,
        worker_s=worker * per_1000,
        redis_s=server * per_1000,
        p50_ms=ages[len(ages) // 2],
        p99_ms=ages[int(len(ages) * 0.99)],
    )


@contextmanager
def running_worker(redis_url: str, folder: Path, batch_size: int) -> Iterator[int]:
    """A worker process that takes bells; its pid."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}",
        "LATENCIES": str(folder / "latencies"),
        "FRAMEWATCH_REDIS_URL": redis_url,
        "FRAMEWATCH_MODEL": MODEL,
        "FRAMEWATCH_NAMESPACE": NAMESPACE,
        "FRAMEWATCH_BATCH_SIZE": str(batch_size),
    }
    command = [sys.executable, "-m", "celery", "-A", "sleep_worker", "worker", "--without-mingle"]
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        queue, deadline = make_queue(redis_url), time.monotonic() + 60
        while not queue.workers():
            if worker.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the worker did not start:\n" + (folder / "worker.log").read_text()[-2000:])
            time.sleep(0.1)
        yield worker.pid
    finally:
        worker.terminate()
        worker.wait(30)


def run(rounds: int, frames: int, batch_size: int) -> dict[str, Any]:
    """Alternating rounds of burst and paced; the figures are medians over the rounds."""
    measured: list[Round] = []
    with tempfile.TemporaryDirectory() as name, EmbeddedRedis(None) as redis:
        folder = Path(name)
        (folder / "latencies").touch()
        console = Console(stderr=True)
        with (
            running_worker(redis.url, folder, batch_size) as pid,
            Progress(console=console, disable=not console.is_terminal) as progress,
        ):
            for _ in progress.track(range(rounds), description="alternating rounds"):
                for kind in ("burst", "paced"):
                    measured.append(measure(kind, frames, pid, redis, folder / "latencies"))
    figures = {
        f"{kind}_{name}": median(measured, kind, name) for kind in ("burst", "paced") for name in _COLUMNS
    }
    return {
        **figures,
        "rounds": [asdict(one) for one in measured],
        "batch_size": batch_size,
        "frame_bytes": FRAME_BYTES,
        "cameras": CAMERAS,
        "aims": AIMS,
        "aims_met": all(figures[name] <= most for name, most in AIMS.items()),
    }


_COLUMNS = ("cpu_s", "publisher_s", "worker_s", "redis_s", "fps", "p50_ms", "p99_ms")


def median(measured: list[Round], kind: str, column: str) -> float:
    return round(statistics.median(getattr(one, column) for one in measured if one.kind == kind), 3)


def show(result: dict[str, Any]) -> None:
    """One table of medians."""
    kilobytes = result["frame_bytes"] // 1000
    title = f"frame queue, {kilobytes} KB frames of {result['cameras']} cameras, batch {result['batch_size']}"
    table = Table(title=title)
    for column in ("", "CPU s / 1000", "publisher", "worker", "Redis", "frames/s", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right" if column else "left")
    for kind in ("burst", "paced"):
        table.add_row(kind, *(f"{result[f'{kind}_{name}']:.2f}" for name in _COLUMNS))
    console = Console()
    console.print(table)
    aims = ", ".join(f"{name} <= {most:g}" for name, most in result["aims"].items())
    console.print(f"medians of {len(result['rounds']) // 2} rounds; aims: {aims}; met: {result['aims_met']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=2000, help="per round and kind")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--publish", nargs=3, metavar=("URL", "FRAMES", "FPS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.publish:
        url, frames, fps = options.publish
        publish(url, int(frames), float(fps))
        return
    result = run(options.rounds, options.frames, options.batch_size)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
