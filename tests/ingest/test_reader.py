"""One camera from its source to the queue."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.camera_state import CameraActivity, CameraState
from core.frame_queue import ClaimedFrame, FrameQueue
from core.types import Camera, DropReason, Policy
from ingest.camera_defaults import camera_for
from ingest.reader import CaptureReport, ReaderOptions, read_camera
from ingest.sources.source import FrameSource, Picture, SourceFormat, SourceFrame
from tests.clips import write_clip, write_pictures
from tests.rtsp_server import Fault, RtspServer, encode_clip
from tests.waiting import wait_until

QUICK = ReaderOptions(
    "tiny", open_timeout_s=1.0, stall_timeout_s=1.0, reconnect_min_s=0.05, reconnect_max_s=0.2
)
ROOMY = {"camera_max_frames": 1000}


def claim_all(queue: FrameQueue) -> list[ClaimedFrame]:
    return queue.claim("tiny", "test", 1000, 0.0)


def read(camera: Camera, queue: FrameQueue, options: ReaderOptions = QUICK) -> CaptureReport:
    return read_camera(camera, queue, options, threading.Event())


@contextmanager
def reading(camera: Camera, queue: FrameQueue, options: ReaderOptions = QUICK) -> Iterator[list[CameraState]]:
    """Reads in a thread; gives the states it reports, and stops it in the end."""
    stop, states = threading.Event(), []
    reader = threading.Thread(
        target=read_camera, args=(camera, queue, options, stop), kwargs={"report": states.append}
    )
    reader.start()
    try:
        yield states
    finally:
        stop.set()
        reader.join(timeout=10)
    assert not reader.is_alive()


def test_every_frame_of_a_recording_is_queued(clip: Path, make_queue: Callable[..., FrameQueue]) -> None:
    queue = make_queue(**ROOMY)
    report = read(camera_for(str(clip), "street"), queue)
    assert report == CaptureReport("street", captured=100, published=100)
    frames = [claimed.frame for claimed in claim_all(queue)]
    assert [frame.index for frame in frames] == list(range(100))
    assert all(frame.recorded and frame.source_size == (320, 240) for frame in frames)
    assert {later.captured_at - earlier.captured_at for earlier, later in pairwise(frames)} == {
        timedelta(seconds=0.04)
    }
    assert (queue.ledger("street").captured, queue.ledger("street").balance) == (100, 0)


def test_sampled_out_frames_are_counted(clip: Path, make_queue: Callable[..., FrameQueue]) -> None:
    queue = make_queue(**ROOMY)
    report = read(camera_for(str(clip), "street", fps=5), queue)
    assert (report.captured, report.published) == (100, 20)
    assert [claimed.frame.index for claimed in claim_all(queue)] == list(range(0, 100, 5))
    ledger = queue.ledger("street")
    assert (ledger.captured, ledger.dropped[DropReason.SAMPLED_OUT], ledger.balance) == (100, 80, 0)


def test_still_frames_are_counted_as_such(tmp_path: Path, make_queue: Callable[..., FrameQueue]) -> None:
    queue = make_queue(**ROOMY)
    still = write_pictures(tmp_path / "still", 1)
    for number in range(1, 5):
        (still / f"picture-{number:04}.jpg").write_bytes((still / "picture-0000.jpg").read_bytes())
    report = read(camera_for(str(still), "lot", motion=True), queue)
    assert (report.published, report.dropped) == (1, {DropReason.NO_MOTION: 4})


def test_corrupt_pictures_are_counted(tmp_path: Path, make_queue: Callable[..., FrameQueue]) -> None:
    queue = make_queue(**ROOMY)
    folder = write_pictures(tmp_path / "pictures", 4)
    (folder / "picture-0002.jpg").write_bytes(b"no picture")
    report = read(camera_for(str(folder), "folder"), queue)
    assert (report.captured, report.published, report.error) == (4, 3, None)
    assert queue.ledger("folder").dropped[DropReason.CORRUPT] == 1


def test_damaged_frames_are_all_counted_and_take_no_good_ones_place(
    make_queue: Callable[..., FrameQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue(**ROOMY)
    monkeypatch.setattr("ingest.reader.open_source", lambda *_: HalfDamaged())
    report = read(Camera("gate", "rtsp://192.0.2.10/1", fps=1), queue)
    assert report.dropped == {DropReason.CORRUPT: 10, DropReason.SAMPLED_OUT: 8}
    assert [claimed.frame.index for claimed in claim_all(queue)] == [1, 11]


class HalfDamaged(FrameSource):
    """Ten frames per second for two seconds, of which every other is damaged."""

    recorded = True

    @property
    def format(self) -> SourceFormat:
        return SourceFormat("none")

    def __iter__(self) -> Iterator[SourceFrame]:
        black = Picture(np.zeros((8, 8, 3), np.uint8), (8, 8))
        for number in range(20):
            moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=100 * number)
            yield SourceFrame(moment, lambda: black) if number % 2 else SourceFrame.damaged(moment)

    def close(self) -> None:
        pass


def test_a_truncated_recording_counts_its_readable_frames_and_says_so(
    tmp_path: Path, make_queue: Callable[..., FrameQueue], caplog
) -> None:
    queue = make_queue(**ROOMY)
    path = write_clip(tmp_path / "clip.avi", frames=200, codec="mpeg4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = read(camera_for(str(path), "cut"), queue)
    assert report.published > 50
    assert "got a file cut off after frame" in (report.error or "")
    assert queue.ledger("cut").balance == 0
    assert [record.levelno for record in caplog.records if "cut off" in record.message] == [logging.WARNING]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/nowhere/street.mp4", "no such file"),
        ("rstp://viewer:hush@192.0.2.10/x", "expected a file or one of"),
        ("rtsp://viewer:${NO_SUCH_PASSWORD}@192.0.2.10/x", "NO_SUCH_PASSWORD"),
        ("usb://front", "expected usb://NUMBER"),
    ],
)
def test_what_can_never_be_read_is_reported_once(
    url: str, words: str, make_queue: Callable[..., FrameQueue], caplog
) -> None:
    report = read(Camera("bad", url), make_queue())
    assert words in (report.error or "")
    assert "\n" not in (report.error or "")
    assert len([record for record in caplog.records if record.levelno > logging.INFO]) == 1
    assert "hush" not in caplog.text


def test_an_unreachable_camera_is_given_up_at_once_when_it_must_answer(
    make_queue: Callable[..., FrameQueue], caplog
) -> None:
    options = ReaderOptions("tiny", open_timeout_s=1.0, must_answer=True)
    report = read(Camera("gate", "rtsp://viewer:hush@127.0.0.1:9/x"), make_queue(), options)
    assert report.error == "rtsp://viewer:***@127.0.0.1:9/x: cannot connect: Connection refused"
    assert "hush" not in caplog.text


def captured(queue: FrameQueue) -> int:
    return queue.ledger("gate").captured


def test_a_live_camera_is_opened_anew_after_every_loss(
    rtsp_server: RtspServer, make_queue: Callable[..., FrameQueue]
) -> None:
    queue = make_queue(**ROOMY)
    with reading(Camera("gate", rtsp_server.url()), queue) as states:
        wait_until(lambda: captured(queue) > 5, 10, "first frames")
        rtsp_server.drop_clients()
        before = captured(queue)
        wait_until(lambda: captured(queue) > before + 5, 10, "frames after a dropped connection")
        rtsp_server.stop()
        wait_until(lambda: states[-1].activity is CameraActivity.BACKING_OFF, 10, "the loss")
        before = captured(queue)
        rtsp_server.start()
        wait_until(lambda: captured(queue) > before + 5, 10, "frames after a restart on the same port")
        rtsp_server.fault = Fault.FREEZE
        wait_until(lambda: "nothing came for 1 s" in (states[-1].error or ""), 5, "the stall")
        before = captured(queue)
        rtsp_server.fault = Fault.NONE
        wait_until(lambda: captured(queue) > before + 5, 10, "frames after a stall")
    frames = [claimed.frame for claimed in claim_all(queue)]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert all(earlier.captured_at < later.captured_at for earlier, later in pairwise(frames))
    assert not frames[0].recorded
    assert queue.ledger("gate").balance == 0
    assert states[-1].activity is CameraActivity.STOPPED
    assert states[-1].reconnects >= 3


def test_a_camera_that_comes_later_is_found(
    rtsp_server: RtspServer, make_queue: Callable[..., FrameQueue]
) -> None:
    queue = make_queue(**ROOMY)
    rtsp_server.stop()
    with reading(Camera("gate", rtsp_server.url()), queue) as states:
        wait_until(
            lambda: states and states[-1].activity is CameraActivity.BACKING_OFF, 10, "the first failure"
        )
        rtsp_server.start()
        wait_until(lambda: captured(queue) > 0, 10, "the first frame")


def test_refused_credentials_wait_long_at_once(clip: Path, make_queue: Callable[..., FrameQueue]) -> None:
    options = ReaderOptions("tiny", open_timeout_s=1.0, reconnect_min_s=0.01, reconnect_max_s=0.02)
    with (
        RtspServer(encode_clip(clip), users={"viewer": "right"}) as server,
        reading(Camera("gate", server.url("viewer", "hush")), make_queue(), options) as states,
    ):
        wait_until(lambda: states and states[-1].activity is CameraActivity.REFUSED, 10, "the refusal")
        assert "hush" not in (states[-1].error or "")
        tries = server.connections
        time.sleep(1.0)  # long enough for dozens of tries at the usual pace
        assert server.connections == tries
        assert states[-1].activity is CameraActivity.REFUSED


def test_a_live_camera_reports_its_frame_rates(
    rtsp_server: RtspServer, make_queue: Callable[..., FrameQueue]
) -> None:
    with reading(Camera("gate", rtsp_server.url(), fps=5), make_queue()) as states:
        wait_until(lambda: len([state for state in states if state.fps_in]) >= 3, 10, "three reports")
    rates = [state for state in states if state.fps_in][2]
    assert rates.fps_in == pytest.approx(25, abs=8)
    assert rates.fps_out == pytest.approx(5, abs=2)
    assert rates.last_frame_at is not None


def test_a_full_queue_drops_the_oldest_of_a_live_camera(
    rtsp_server: RtspServer, make_queue: Callable[..., FrameQueue]
) -> None:
    queue = make_queue(camera_max_frames=5)
    camera = Camera("gate", rtsp_server.url(), policy=Policy.DROP_OLDEST)
    with reading(camera, queue):
        wait_until(lambda: queue.ledger("gate").dropped.get(DropReason.QUEUE_FULL, 0) > 10, 10, "drops")
    newest = queue.ledger("gate").captured - 1
    assert [claimed.frame.index for claimed in claim_all(queue)] == list(range(newest - 4, newest + 1))
    assert queue.ledger("gate").balance == 0
