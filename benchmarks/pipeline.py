"""What the pipeline costs over a bare loop: frames/s from a video file to committed rows.

    python benchmarks/pipeline.py --video street.avi [--rounds 5] [--json]

Both sides run the same detector at the same batch size on the same frames, in alternating rounds on the
same cores. The bare side is the simplest script there is: one process that decodes and detects, no queue,
no database. The pipeline is the real one: an ingest process, Redis, a Celery worker (`framewatch worker`)
and SQLite. Model loading and process starts count on neither side.

The second table is what moving frames costs by itself: see benchmarks/frame_queue.py, which measures it.
"""

import argparse
import contextlib
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

ROOT = Path(__file__).parents[1]
FRAMEWATCH = Path(sys.executable).parent / "framewatch"
sys.path.insert(0, str(ROOT))

import frame_queue  # noqa: E402  the benchmark beside this one

from core.redis_server import EmbeddedRedis  # noqa: E402  found through the path above

BARE = """
import json, sys, time
import av
from models.detector import load_detector

video, model, batch_size = sys.argv[1], sys.argv[2] or None, int(sys.argv[3])
detector = load_detector(model)
detector.warm_up(batch_size)
started, frames, found, batch = time.perf_counter(), 0, 0, []

def detect():
    return sum(len(detections) for detections in detector.predict(batch))

with av.open(video) as container:
    for frame in container.decode(video=0):
        batch.append(frame.to_ndarray(format="bgr24"))
        if len(batch) == batch_size:
            found += detect()
            frames += batch_size
            batch.clear()
if batch:
    found += detect()
    frames += len(batch)
seconds = time.perf_counter() - started
print(json.dumps({"frames": frames, "detections": found, "seconds": seconds}))
"""


def bare_round(video: Path, model: str, batch_size: int) -> dict[str, float]:
    command = [sys.executable, "-c", BARE, str(video), model, str(batch_size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


@contextlib.contextmanager
def running_worker(environment: dict[str, str], folder: Path) -> Iterator[None]:
    """One `framewatch worker`, ready with its model loaded and warmed up."""
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen([FRAMEWATCH, "worker"], env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        wait_for_worker(environment, folder, worker)
        yield
    finally:
        worker.terminate()
        worker.wait(60)


def wait_for_worker(environment: dict[str, str], folder: Path, worker: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and worker.poll() is None:
        done = subprocess.run(
            [FRAMEWATCH, "status", "--json"], env=environment, cwd=folder, capture_output=True, text=True
        )
        if done.returncode == 0 and json.loads(done.stdout)["workers"]:
            return
        time.sleep(0.5)
    raise SystemExit("the worker did not start:\n" + (folder / "worker.log").read_text()[-2000:])


def pipeline_round(video: Path, camera: str, environment: dict[str, str], folder: Path) -> dict[str, float]:
    command = [FRAMEWATCH, "run", f"{camera}={video}", "--workers", "0", "--json"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"framewatch run failed with {done.returncode}: {done.stderr[-2000:]}")
    with sqlite3.connect(folder / "history.db") as history:
        frames, found, first, last = history.execute(
            "SELECT count(*), sum(detection_count), min(enqueued_at), max(stored_at) FROM frames"
            " JOIN cameras ON cameras.id = camera_id WHERE cameras.name = ?",
            (camera,),
        ).fetchone()
    seconds = (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
    return {"frames": frames, "detections": found, "seconds": seconds}


def compare(video: Path, model: str, batch_size: int, rounds: int) -> dict[str, Any]:
    """Alternating rounds of both sides; the figures are medians over the rounds."""
    bare, whole = [], []
    with tempfile.TemporaryDirectory() as name, EmbeddedRedis(Path(name) / "redis") as redis:
        folder = Path(name)
        environment = {
            **os.environ,
            "FRAMEWATCH_REDIS_URL": redis.url,
            "FRAMEWATCH_DATABASE_URL": f"sqlite:///{folder / 'history.db'}",
            "FRAMEWATCH_BATCH_SIZE": str(batch_size),
            "FRAMEWATCH_DATA_DIR": str(folder),
            **({"FRAMEWATCH_MODEL": model} if model else {}),
        }
        subprocess.run([FRAMEWATCH, "db", "upgrade"], env=environment, check=True, capture_output=True)
        console = Console(stderr=True)
        with running_worker(environment, folder), Progress(console=console) as progress:
            for number in progress.track(range(rounds), description="alternating rounds"):
                bare.append(bare_round(video, model, batch_size))
                whole.append(pipeline_round(video, f"round-{number}", environment, folder))
    return {
        "video": video.name,
        "frames": whole[0]["frames"],
        "bare_fps": [round(run["frames"] / run["seconds"], 2) for run in bare],
        "pipeline_fps": [round(run["frames"] / run["seconds"], 2) for run in whole],
        "ratio": statistics.median(
            (w["frames"] / w["seconds"]) / (b["frames"] / b["seconds"])
            for w, b in zip(whole, bare, strict=True)
        ),
    }


def machine() -> str:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        names = [
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0].split(":")[1].strip()
    return f"{model}, {os.cpu_count()} cores"


def show(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['video']}, {result['frames']} frames, batch {result['batch_size']}")
    for column in ("side", "frames/s (median)", "per round"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for side in ("bare", "pipeline"):
        rounds = result[f"{side}_fps"]
        table.add_row(side, f"{statistics.median(rounds):.1f}", "  ".join(f"{value:.1f}" for value in rounds))
    console = Console()
    console.print(table)
    console.print(
        f"pipeline / bare: {result['ratio']:.3f} (median of the rounds' ratios; the aim is 0.85 or more)"
    )
    console.print(f"{result['date']}, {result['machine']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--video", type=Path, default=Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
    )
    parser.add_argument("--model", default="", help="weights name or file (default: the shipped ones)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-queue", action="store_true", help="leave out the queue's own figures")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.video.exists():
        parser.error(f"no such video: {options.video} (vtest.avi is in Debian's opencv-doc)")
    result = compare(options.video.resolve(), options.model, options.batch_size, options.rounds)
    result |= {
        "batch_size": options.batch_size,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
    }
    if not options.skip_queue:
        result["queue"] = frame_queue.run(options.rounds, frames=1000, batch_size=16)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
        if "queue" in result:
            frame_queue.show(result["queue"])


if __name__ == "__main__":
    main()
