"""What the supervisor and its camera processes say to each other."""

import logging

import pytest

from core.camera_state import CameraActivity, new_state
from core.frame_queue import QueueLimits
from core.settings import load_settings
from core.types import Camera, DropReason, Policy
from ingest.messages import (
    Beat,
    Finished,
    IngestOptions,
    Job,
    LogLine,
    Message,
    Ring,
    StateReport,
    read_job,
    read_message,
    write_job,
    write_message,
)
from ingest.reader import CaptureReport, ReaderOptions


def test_a_job_comes_back_as_it_was_written() -> None:
    camera = Camera(
        "gate",
        "rtsp://viewer:${GATE}@192.0.2.10/",
        fps=2.5,
        policy=Policy.LATEST,
        max_age_s=None,
        masks=(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0)),),
        classes=("person",),
    )
    options = IngestOptions("redis://127.0.0.1/0", "fleet", QueueLimits(), ReaderOptions("tiny"))
    line = write_job(Job(camera, options))
    assert line.count(b"\n") == 1
    assert read_job(line) == Job(camera, options)


@pytest.mark.parametrize(
    "message",
    [
        LogLine(logging.WARNING, "camera gate: lost\nand found"),
        StateReport(new_state("gate", CameraActivity.LIVE)),
        Ring("tiny"),
        Beat(),
        Finished(CaptureReport("gate", 3, 1, {DropReason.SAMPLED_OUT: 2}, "cut off")),
    ],
    ids=lambda message: message.kind,
)
def test_a_message_comes_back_as_it_was_written(message: Message) -> None:
    line = write_message(message)
    assert line.count(b"\n") == 1
    assert read_message(line) == message


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(ValueError, match="kind"):
        read_message(b'{"kind": "gossip"}')


def test_options_follow_the_settings() -> None:
    settings = load_settings(jpeg_quality=70, stall_timeout_s=2.5, namespace="fleet", camera_max_frames=9)
    options = IngestOptions.from_settings(settings, "tiny", must_answer=True)
    assert (options.namespace, options.limits.camera_max_frames) == ("fleet", 9)
    assert options.reader == ReaderOptions("tiny", 70, stall_timeout_s=2.5, must_answer=True)
