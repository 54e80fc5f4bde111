"""The process of one camera, by itself."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.frame_queue import FrameQueue, QueueLimits
from core.redis_client import make_redis
from core.types import Camera, DropReason
from ingest.camera_defaults import camera_for
from ingest.camera_process import HUNG
from ingest.messages import (
    Finished,
    IngestOptions,
    Job,
    LogLine,
    Message,
    StateReport,
    read_message,
    write_job,
)
from ingest.reader import CaptureReport, ReaderOptions
from tests.ingest.conftest import NAMESPACE

COMMAND = [sys.executable, "-m", "ingest.camera_process"]


def options(redis_url: str) -> IngestOptions:
    return IngestOptions(redis_url, NAMESPACE, QueueLimits(), ReaderOptions("tiny"))


def run(job: Job) -> tuple[int, list[Message], bytes]:
    """Exit code, messages and stderr of the process; its stdin stays open, as the supervisor keeps it."""
    pipe = subprocess.PIPE
    with subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdin.write(write_job(job))
        process.stdin.flush()
        messages = [read_message(line) for line in process.stdout]
        return process.wait(10), messages, process.stderr.read()


def texts(messages: list[Message], above: int = 0) -> list[str]:
    return [message.text for message in messages if isinstance(message, LogLine) and message.level > above]


def test_it_reads_its_camera_and_reports_on_stdout_alone(clip: Path, redis_url: str) -> None:
    code, messages, stderr = run(Job(camera_for(str(clip), "street"), options(redis_url)))
    assert (code, stderr) == (0, b"")
    assert messages[-1] == Finished(CaptureReport("street", captured=100, published=100))
    assert any(isinstance(message, StateReport) for message in messages)
    assert "camera street: ended after 100 frames" in texts(messages)


def test_without_a_job_it_ends() -> None:
    assert subprocess.run(COMMAND, stdin=subprocess.DEVNULL, timeout=20, check=True).returncode == 0


def test_an_unexpected_error_is_one_line_and_asks_for_a_fresh_process(clip: Path, redis_url: str) -> None:
    with make_redis(redis_url) as client:
        client.set(f"{{{NAMESPACE}}}:frames:street:tiny", "no stream, but somebody else's key")
    code, messages, stderr = run(Job(camera_for(str(clip), "street"), options(redis_url)))
    (text,) = texts(messages, above=logging.WARNING)
    assert (code, stderr) == (1, b"")
    assert text.startswith("camera street: unexpected ResponseError: WRONGTYPE")
    assert "\n" not in text


def test_what_a_reference_stands_for_is_hidden_wherever_it_turns_up(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATE_URL", "cam.example/live?pwd=sesame")  # no scheme: taken for a file
    code, messages, stderr = run(Job(Camera("gate", "${GATE_URL}"), options(redis_url)))
    assert (code, stderr) == (0, b"")
    assert isinstance(messages[-1], Finished)
    error = messages[-1].report.error or ""
    assert error.startswith("***: no such file")
    assert texts(messages, above=logging.INFO) == [f"camera gate: failed: {error}"]
    assert "sesame" not in str(messages)


HANGING = """
import os, sys, threading
from core.frame_queue import FrameQueue, QueueLimits
from core.redis_client import make_redis
from core.redis_client import make_redis
from core.types import Camera, DropReason
from ingest.camera_process import Line, Watchdog
from ingest.reader import CameraReader, Heart, ReaderOptions
queue = FrameQueue(make_redis(sys.argv[1]), QueueLimits(), sys.argv[2], print)
stop, heart = threading.Event(), Heart()
reader = CameraReader(Camera("gate", "usb://0"), queue, ReaderOptions("tiny"), stop, heart=heart)
reader.outbox.count(DropReason.SAMPLED_OUT, 7)
heart.beat(0.2)
Watchdog(sys.stdin.fileno(), Line(sys.stdout.buffer), reader, stop, heart).start()
open(sys.argv[3])  # a pipe without a writer: waits for ever, outside of Python
"""


def test_a_hanging_reader_is_ended_by_its_watchdog_after_counting(
    tmp_path: Path, redis_url: str, make_queue: Callable[..., FrameQueue]
) -> None:

    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-c", HANGING, redis_url, NAMESPACE, str(tmp_path / "pipe")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.wait(20) == HUNG
    ledger = make_queue().ledger("gate")
    assert (ledger.dropped[DropReason.SAMPLED_OUT], ledger.balance) == (7, 0)
