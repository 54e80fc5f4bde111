"""Many cameras beside each other, healthy and broken: for tests, and benchmarks/cameras.py."""

import contextlib
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import psutil

from core.types import Camera, to_microseconds
from tests.clips import write_clip
from tests.ingest_process import IngestProcess
from tests.rtsp_server import RtspServer, encode_clip
from tests.system.fleet import Fleet
from tests.waiting import wait_until


@dataclass(frozen=True)
class Taken:
    """One frame that the stand-in for a worker took from the queue."""

    captured_us: int
    delay_s: float
    """From its capture to its claim."""


@dataclass
class StandInWorker:
    """Takes and acknowledges every frame at once, in a thread: what is measured is the way to the worker."""

    fleet: Fleet
    taken: dict[str, list[Taken]] = field(default_factory=lambda: defaultdict(list))

    def __enter__(self) -> "StandInWorker":
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        queue, model = self.fleet.queue, self.fleet.model
        while not self._stop.is_set():
            claimed = queue.claim(model, "stand-in", 64, 0.2)
            now = time.time()
            for one in claimed:
                delay_s = now - one.frame.captured_at.timestamp()
                self.taken[one.frame.camera].append(Taken(to_microseconds(one.frame.captured_at), delay_s))
            queue.ack(model, claimed)


@dataclass(frozen=True)
class CrowdFigures:
    """What became of the cameras that nothing happened to."""

    cameras: int
    seconds: float
    kept: dict[str, float]
    """Share of the frames that each camera sent in that time."""
    delay_s: tuple[float, float]
    """From capture to claim, median: of the first and of the last third of the time."""
    rss_bytes: tuple[int, int]
    """Of ingest and all its camera processes: median of the first and of the last third of the time."""
    balances: dict[str, int]
    """Of every ledger after all was stopped: 0 when every frame is accounted for."""


def watch_a_crowd(
    folder: Path, redis_url: str, *, healthy: int, fps: int, seconds: float, with_broken: bool
) -> CrowdFigures:
    """Watches them; `with_broken`: beside one that never answers, and one that leaves half-way."""
    clip = write_clip(folder / "clip.mp4", frames=50)
    fleet = Fleet(folder, redis_url)
    names = [f"camera-{number:02}" for number in range(healthy)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(fleet))
        server = stack.enter_context(RtspServer(encode_clip(clip, Fraction(fps), keyframe_every=10)))
        leaving = stack.enter_context(RtspServer(encode_clip(clip, Fraction(fps), keyframe_every=10)))
        fleet.add(*(Camera(name, server.url()) for name in names))
        if with_broken:
            fleet.add(Camera("nowhere", "rtsp://127.0.0.1:9/stream"), Camera("leaving", leaving.url()))
        with StandInWorker(fleet) as worker:
            with fleet.ingest("crowd") as ingest:
                live = healthy + with_broken
                wait_until(lambda: len(fleet.readers()) == live, 60 + 3 * live, f"{live} live cameras", 0.2)
                began_us = int(time.time() * 1e6)
                rss = _watch(ingest, seconds, leaving.stop if with_broken else lambda: None)
                ended_us = int(time.time() * 1e6)
                wait_until(
                    lambda: all(worker.taken[name][-1].captured_us >= ended_us for name in names), 30, "all"
                )
                assert ingest.terminate() == 0
            wait_until(
                lambda: not any(ledger.in_flight for ledger in fleet.queue.ledgers()), 30, "the last frames"
            )
            return _figures(worker, names, (began_us, ended_us), fps, rss)


def _watch(ingest: IngestProcess, seconds: float, half_way: Callable[[], object]) -> list[int]:
    """Resident bytes of ingest and its cameras, once a second."""
    began, rss, left = time.monotonic(), [], False
    while (elapsed := time.monotonic() - began) < seconds:
        if elapsed > seconds / 2 and not left:
            half_way()
            left = True
        rss.append(sum(_rss(one) for one in [psutil.Process(ingest.pid), *ingest.family()]))
        time.sleep(1)  # the pace of the samples, not a wait of the test
    return rss


def _rss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.memory_info().rss
    return 0


def _figures(
    worker: StandInWorker,
    names: Sequence[str],
    window_us: tuple[int, int],
    fps: int,
    rss: Sequence[int],
) -> CrowdFigures:
    began_us, ended_us = window_us
    seconds = (ended_us - began_us) / 1e6
    within = {
        name: [one for one in worker.taken[name] if began_us <= one.captured_us < ended_us] for name in names
    }
    third_us = (ended_us - began_us) // 3
    delays = [
        statistics.median(
            one.delay_s for taken in within.values() for one in taken if start_us <= one.captured_us < end_us
        )
        for start_us, end_us in ((began_us, began_us + third_us), (ended_us - third_us, ended_us))
    ]
    third = max(1, len(rss) // 3)
    return CrowdFigures(
        cameras=len(names),
        seconds=seconds,
        kept={name: len(taken) / (fps * seconds) for name, taken in within.items()},
        delay_s=(delays[0], delays[1]),
        rss_bytes=(int(statistics.median(rss[:third])), int(statistics.median(rss[-third:]))),
        balances={ledger.camera: ledger.balance for ledger in worker.fleet.queue.ledgers()},
    )
