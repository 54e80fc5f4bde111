"""The process of one camera: `python -m ingest.camera_process`, started by the supervisor alone.

It imports no torch, no SQL and no Celery. It ends when its recording ends, when its stdin closes (the
supervisor wants that, or died), on SIGTERM, and by its own watchdog.
"""

import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import cv2

from core.camera_state import CameraState
from core.frame_queue import FrameQueue
from core.redis_client import make_redis
from ingest.messages import (
    Beat,
    Finished,
    Job,
    LogLine,
    Message,
    Ring,
    StateReport,
    read_job,
    write_message,
)
from ingest.reader import CameraReader, CaptureReport, Heart
from ingest.references import hide_secrets

LOG = logging.getLogger(__name__)
BEAT_EVERY_S = 2.0
STOP_WITHIN_S = 3.0
"""A read from a silent camera cannot be interrupted; after this long the process goes without it."""
HUNG = 70
"""Exit code of the watchdog (EX_SOFTWARE of sysexits.h)."""


class Line:
    """The way to the supervisor; threads may share it."""

    def __init__(self, file: BinaryIO, hide: Callable[[str], str] = str) -> None:
        """`hide` takes secrets out of every text."""
        self._file, self._hide = file, hide
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Writes one line; a supervisor that is gone is noticed at the end of stdin."""
        try:
            with self._lock:
                self._file.write(write_message(_without_secrets(message, self._hide)))
                self._file.flush()
        except OSError:
            return


def _without_secrets(message: Message, hide: Callable[[str], str]) -> Message:
    match message:
        case LogLine(text=text):
            return replace(message, text=hide(text))
        case StateReport(state=CameraState(error=str(error)) as state):
            return replace(message, state=replace(state, error=hide(error)))
        case Finished(report=CaptureReport(error=str(error)) as report):
            return replace(message, report=replace(report, error=hide(error)))
        case _:
            return message


class _LogToSupervisor(logging.Handler):
    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        self._line.send(LogLine(record.levelno, self.format(record)))


class Watchdog(threading.Thread):
    """Hears the supervisor's stop, beats, tells of silence, and ends the process when the reader hangs."""

    def __init__(self, control: int, line: Line, reader: CameraReader, stop: threading.Event, heart: Heart):
        super().__init__(name="watchdog", daemon=True)
        self._control, self._line, self._reader = control, line, reader
        self._stop, self._heart = stop, heart
        self._beat_at = 0.0

    def run(self) -> None:
        while not self._stop.is_set():
            self._beat()
            deadline = self._heart.deadline
            if deadline is not None and time.monotonic() > deadline:
                LOG.error("the camera's reader hangs; starting its process anew")
                self._leave(HUNG)
            self._reader.notice_silence()
            readable, _, _ = select.select([self._control], [], [], BEAT_EVERY_S / 4)
            if readable and not os.read(self._control, 4096):
                self._stop.set()
        time.sleep(STOP_WITHIN_S)  # a daemon: a reader that ends in time ends the process before
        self._line.send(Finished(self._reader.report()))
        self._leave(0)

    def _beat(self) -> None:
        if time.monotonic() - self._beat_at >= BEAT_EVERY_S:
            self._beat_at = time.monotonic()
            self._line.send(Beat())

    def _leave(self, code: int) -> None:
        self._reader.outbox.flush()
        os._exit(code)


def make_queue(job: Job, line: Line) -> FrameQueue:
    """A queue that has its bells rung by the supervisor."""
    return FrameQueue(
        make_redis(job.options.redis_url),
        job.options.limits,
        job.options.namespace,
        lambda model: line.send(Ring(model)),
        lease=job.lease,
    )


def run_job(job: Job, control: int, line: Line) -> None:
    """Reads the job's camera and sends its report."""
    stop, heart = threading.Event(), Heart()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    reader = CameraReader(
        job.camera,
        make_queue(job, line),
        job.options.reader,
        stop,
        report=lambda state: line.send(StateReport(state)),
        heart=heart,
    )
    Watchdog(control, line, reader, stop, heart).start()
    line.send(Finished(reader.run()))


def main() -> int:
    """Exit code 0 after a report, 1 when this camera's process must be started anew."""
    control = sys.stdin.fileno()
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no message
    first = sys.stdin.buffer.readline()
    if not first:
        return 0
    job = read_job(first)
    line = Line(output, partial(hide_secrets, url=job.camera.url))
    handlers = [_LogToSupervisor(line)]
    logging.basicConfig(level=job.options.log_level, format="%(message)s", handlers=handlers)
    cv2.setNumThreads(1)
    try:
        run_job(job, control, line)
    except Exception as error:
        LOG.error("camera %s: unexpected %s: %s", job.camera.name, type(error).__name__, error)
        LOG.debug("it came from here:", exc_info=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
