"""One process per camera."""

import errno
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from core.camera_leases import CameraLeases
from core.camera_state import CameraActivity, CameraEvent, CameraStates, new_state
from core.errors import DatabaseUnavailableError
from core.frame_queue import FrameQueue, QueueLimits
from core.redis_client import make_redis
from core.redis_server import EmbeddedRedis
from core.types import Camera, DropReason
from ingest import camera_handle
from ingest.camera_defaults import camera_for
from ingest.lease_keeper import LeaseKeeper
from ingest.messages import IngestOptions
from ingest.reader import ReaderOptions
from ingest.supervisor import Supervisor
from tests.clips import write_clip
from tests.ingest.conftest import NAMESPACE
from tests.redis_logins import login_refused
from tests.rtsp_server import Fault, RtspServer, encode_clip
from tests.waiting import wait_until

QUICK = ReaderOptions(
    "tiny", open_timeout_s=1.0, stall_timeout_s=1.0, reconnect_min_s=0.1, reconnect_max_s=0.5
)


@pytest.fixture
def options(redis_url: str) -> IngestOptions:
    return IngestOptions(redis_url, NAMESPACE, QueueLimits(camera_max_frames=1000), QUICK)


@pytest.fixture
def supervisor(options: IngestOptions) -> Iterator[Supervisor]:
    supervisor = Supervisor(options, lambda _: None)
    yield supervisor
    supervisor.stop()


@pytest.fixture
def queue(make_queue: Callable[..., FrameQueue]) -> FrameQueue:
    return make_queue()


def look_until(supervisor: Supervisor, condition: Callable[[], object], timeout_s: float, what: str) -> None:
    def looked() -> object:
        supervisor.look()
        return condition()

    wait_until(looked, timeout_s, what)


def captured(queue: FrameQueue, camera: str) -> int:
    return queue.ledger(camera).captured


def test_recordings_are_read_to_their_end_side_by_side(
    supervisor: Supervisor, queue: FrameQueue, clip: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.mp4"
    notes.write_text("no video")
    supervisor.set_cameras(
        [camera_for(str(clip), "a"), camera_for(str(clip), "b", fps=5), camera_for(str(notes))]
    )
    reports = {report.camera: report for report in supervisor.wait_until_ended(threading.Event())}
    assert (reports["a"].captured, reports["a"].published, reports["a"].error) == (100, 100, None)
    assert (reports["b"].captured, reports["b"].published) == (100, 20)
    assert reports["notes"].error == f"{notes}: expected a video, got a text file"
    assert [ledger.balance for ledger in queue.ledgers()] == [0, 0]
    assert supervisor.process_ids() == {}


def test_bells_are_rung_by_the_supervisor(options: IngestOptions, clip: Path) -> None:
    rung: list[str] = []
    supervisor = Supervisor(options, rung.append)
    supervisor.set_cameras([camera_for(str(clip), "a", model="large")])
    supervisor.wait_until_ended(threading.Event())
    assert "large" in rung


def test_a_killed_camera_process_is_started_anew_and_the_other_loses_nothing(
    supervisor: Supervisor, queue: FrameQueue, rtsp_server: RtspServer, caplog
) -> None:
    supervisor.set_cameras([Camera("gate", rtsp_server.url()), Camera("door", rtsp_server.url())])
    look_until(
        supervisor, lambda: captured(queue, "gate") and captured(queue, "door"), 15, "both cameras live"
    )
    other = supervisor.process_ids()["door"]
    os.kill(supervisor.process_ids()["gate"], signal.SIGKILL)
    look_until(supervisor, lambda: "gate" not in supervisor.process_ids(), 5, "the death to be noticed")
    before = captured(queue, "gate")
    look_until(supervisor, lambda: captured(queue, "gate") > before + 25, 15, "frames of the new process")
    assert supervisor.process_ids()["door"] == other
    assert "camera gate: its process died (exit code -9); starting it anew in" in caplog.text
    supervisor.stop()
    frames = [one.frame for one in queue.claim("tiny", "test", 1000, 0.0) if one.frame.camera == "door"]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    times = [frame.captured_at.timestamp() for frame in frames[25:]]  # after the burst of the first second
    assert max(later - earlier for earlier, later in pairwise(times)) < 0.08
    assert [ledger.balance for ledger in queue.ledgers()] == [0, 0]


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("subprocess.Popen", OSError(errno.EMFILE, "Too many open files")),
        ("threading.Thread.start", RuntimeError("can't start new thread")),
    ],
)
def test_a_process_that_cannot_be_started_is_tried_again_and_the_other_camera_goes_on(
    options: IngestOptions,
    queue: FrameQueue,
    rtsp_server: RtspServer,
    caplog: pytest.LogCaptureFixture,
    place: str,
    error: Exception,
) -> None:
    events: list[CameraEvent] = []
    stop = threading.Event()
    supervisor = Supervisor(options, lambda _: None, on_event=events.append)
    cameras = [Camera("gate", rtsp_server.url()), Camera("door", rtsp_server.url())]
    running = threading.Thread(target=supervisor.run, args=(lambda: cameras, stop))
    running.start()
    try:
        wait_until(lambda: captured(queue, "gate") and captured(queue, "door"), 15, "both cameras live")
        other = supervisor.process_ids()["door"]
        with pytest.MonkeyPatch.context() as short_of_room:
            short_of_room.setattr(f"ingest.camera_handle.{place}", Mock(side_effect=error))
            os.kill(supervisor.process_ids()["gate"], signal.SIGKILL)
            wait_until(lambda: caplog.text.count("cannot be started") > 1, 15, "vain tries")
        before = captured(queue, "gate")
        wait_until(lambda: captured(queue, "gate") > before, 15, "frames of the new process")
        assert supervisor.process_ids()["door"] == other
    finally:
        stop.set()
        running.join(timeout=20)
    assert f"its process cannot be started ({error.args[-1]})" in {event.reason for event in events}


def test_a_camera_process_that_is_stopped_from_outside_is_started_anew(
    supervisor: Supervisor, queue: FrameQueue, rtsp_server: RtspServer, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.set_cameras([Camera("gate", rtsp_server.url())])
    look_until(supervisor, lambda: captured(queue, "gate"), 15, "a live camera")
    os.kill(supervisor.process_ids()["gate"], signal.SIGTERM)
    look_until(supervisor, lambda: "gate" not in supervisor.process_ids(), 10, "its end")
    assert not supervisor.all_ended
    before = captured(queue, "gate")
    look_until(supervisor, lambda: captured(queue, "gate") > before + 5, 15, "frames of the new process")
    assert "camera gate: its process stopped without being asked to (exit code 0)" in caplog.text
    supervisor.stop()
    assert supervisor.all_ended


def test_the_time_in_which_a_killed_host_read_no_camera_is_told(
    options: IngestOptions, redis_url: str, queue: FrameQueue, rtsp_server: RtspServer
) -> None:
    died_at = datetime.now(UTC) - timedelta(hours=20)
    with make_redis(redis_url) as client:
        gate, yard = (new_state(name, CameraActivity.LIVE) for name in ("gate", "yard"))
        dead = replace(gate, since=died_at, reported_at=died_at, ingest="host-0")
        CameraStates(client, NAMESPACE).save([dead, yard])
    events: list[CameraEvent] = []
    supervisor, started = Supervisor(options, lambda _: None, on_event=events.append), time.monotonic()
    try:
        supervisor.set_cameras([Camera(name, rtsp_server.url()) for name in ("gate", "yard")])
        look_until(
            supervisor, lambda: captured(queue, "gate") and captured(queue, "yard"), 15, "live cameras"
        )
        look_until(supervisor, lambda: time.monotonic() > started + 2, 5, "two rounds of housekeeping")
    finally:
        supervisor.stop()
    gaps = [event for event in events if event.activity is CameraActivity.BACKING_OFF]
    assert gaps == [
        CameraEvent("gate", died_at, CameraActivity.BACKING_OFF, "its ingest process fell silent", "host-0")
    ]


def test_a_camera_that_ended_as_another_had_its_lease_is_read_again_when_it_is_back(
    options: IngestOptions, queue: FrameQueue, rtsp_server: RtspServer, caplog: pytest.LogCaptureFixture
) -> None:
    with make_redis(options.redis_url) as client:
        keeper = LeaseKeeper(CameraLeases(client, NAMESPACE, "host-1", lease_s=240.0))  # one round a minute
        events: list[CameraEvent] = []
        supervisor = Supervisor(options, lambda _: None, leases=keeper, on_event=events.append)
        leases = f"{{{NAMESPACE}}}:leases"
        try:
            supervisor.set_cameras([Camera("gate", rtsp_server.url())])
            look_until(supervisor, lambda: captured(queue, "gate"), 15, "a live camera")
            (token,) = client.hvals(leases)
            client.hset(leases, "gate", "host-2 1")
            look_until(supervisor, lambda: "reads it by now; stopping here" in caplog.text, 10, "the loss")
            client.hset(leases, "gate", token)
            before = captured(queue, "gate")
            look_until(supervisor, lambda: captured(queue, "gate") > before + 5, 15, "frames again")
            told = [event.activity for event in events]
            assert told == 2 * [CameraActivity.CONNECTING, CameraActivity.LIVE], "the other's events follow"
        finally:
            supervisor.stop()


def test_live_cameras_go_on_after_redis_refused_the_login_for_a_while(
    rtsp_server: RtspServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server, make_redis(server.url) as client:
        queue = FrameQueue(client, QueueLimits(), NAMESPACE, lambda _: None)
        supervisor = Supervisor(IngestOptions(server.url, NAMESPACE, QueueLimits(), QUICK), lambda _: None)
        supervisor.set_cameras([Camera("all", rtsp_server.url()), Camera("few", rtsp_server.url(), fps=2)])
        try:
            look_until(
                supervisor, lambda: captured(queue, "all") and captured(queue, "few"), 15, "live cameras"
            )
            processes = supervisor.process_ids()
            with login_refused(server):
                look_until(supervisor, lambda: caplog.text.count("keeping frames") == 2, 15, "both to notice")
            before = captured(queue, "all"), captured(queue, "few")
            look_until(
                supervisor,
                lambda: captured(queue, "all") > before[0] + 25 and captured(queue, "few") > before[1] + 25,
                15,
                "frames of both",
            )
            assert supervisor.process_ids() == processes
        finally:
            supervisor.stop()
        assert [ledger.balance for ledger in queue.ledgers()] == [0, 0]
        reports = {report.camera: report for report in supervisor.reports()}
        assert {name: report.captured for name, report in reports.items()} == {
            name: captured(queue, name) for name in ("all", "few")
        }


def test_a_recording_that_kills_its_process_is_given_up(supervisor: Supervisor, clip: Path, caplog) -> None:
    supervisor.set_cameras([camera_for(str(clip), "bomb")])

    def killed_again() -> bool:
        for pid in supervisor.process_ids().values():
            os.kill(pid, signal.SIGKILL)
        return supervisor.all_ended

    look_until(supervisor, killed_again, 20, "the supervisor to give up")
    (report,) = supervisor.reports()
    assert report.error == "camera bomb: its process died 4 times"


def test_a_frozen_process_is_killed_and_started_anew(
    supervisor: Supervisor, queue: FrameQueue, rtsp_server: RtspServer, monkeypatch
) -> None:
    supervisor.set_cameras([Camera("gate", rtsp_server.url())])
    look_until(supervisor, lambda: captured(queue, "gate"), 60, "the first frame")
    monkeypatch.setattr(camera_handle, "SILENT_AFTER_S", 3.0)  # not before: starting may take longer
    frozen = supervisor.process_ids()["gate"]
    os.kill(frozen, signal.SIGSTOP)
    look_until(
        supervisor, lambda: supervisor.process_ids().get("gate", frozen) != frozen, 15, "a new process"
    )
    assert not psutil.pid_exists(frozen)


def test_only_what_changed_is_touched(
    supervisor: Supervisor, queue: FrameQueue, rtsp_server: RtspServer
) -> None:
    url = rtsp_server.url()
    supervisor.set_cameras([Camera("a", url), Camera("b", url), Camera("c", url)])
    look_until(supervisor, lambda: all(captured(queue, name) for name in "abc"), 20, "three live cameras")
    before = supervisor.process_ids()
    supervisor.set_cameras([Camera("a", url), Camera("b", url, fps=5), Camera("d", url)])
    look_until(supervisor, lambda: captured(queue, "d"), 15, "the new camera")
    look_until(
        supervisor,
        lambda: queue.ledger("b").dropped.get(DropReason.SAMPLED_OUT),
        15,
        "the changed camera at its new rate",
    )
    after = supervisor.process_ids()
    assert set(after) == {"a", "b", "d"}
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
    look_until(
        supervisor, lambda: not psutil.pid_exists(before["c"]), 10, "the removed camera's process to end"
    )
    supervisor.stop()
    assert all(ledger.balance == 0 for ledger in queue.ledgers())


def test_a_changed_camera_is_read_by_its_new_process_only_after_the_old_one_ended(
    supervisor: Supervisor, queue: FrameQueue, rtsp_server: RtspServer
) -> None:
    supervisor.set_cameras([Camera("gate", rtsp_server.url())])
    look_until(supervisor, lambda: captured(queue, "gate"), 15, "the first frame")
    before = supervisor.process_ids()["gate"]
    os.kill(before, signal.SIGSTOP)  # so that it ends only when it is killed
    supervisor.set_cameras([Camera("gate", rtsp_server.url(), fps=5)])
    family = {one.pid for one in psutil.Process().children()}
    assert before in family
    (after,) = {pid for pid in family if "ingest.camera_process" in psutil.Process(pid).cmdline()} - {before}
    assert rtsp_server.connections == 1
    assert supervisor.process_ids() == {}, "it loads its libraries, and reads nothing"
    look_until(supervisor, lambda: supervisor.process_ids() == {"gate": after}, 15, "the old one's end")
    assert not psutil.pid_exists(before)
    look_until(
        supervisor, lambda: queue.ledger("gate").dropped.get(DropReason.SAMPLED_OUT), 15, "the new rate"
    )
    os.kill(after, signal.SIGSTOP)
    supervisor.set_cameras([Camera("gate", rtsp_server.url(), fps=2)])
    supervisor.set_cameras([])
    supervisor.stop()
    family = {one.pid for one in psutil.Process().children()}
    assert not [pid for pid in family if "ingest.camera_process" in psutil.Process(pid).cmdline()]


def test_a_disabled_camera_does_not_run(supervisor: Supervisor, clip: Path) -> None:
    supervisor.set_cameras([camera_for(str(clip), "off", enabled=False)])
    assert supervisor.process_ids() == {}


def test_cameras_follow_the_configuration_also_after_it_was_away(
    options: IngestOptions, queue: FrameQueue, clip: Path, caplog, monkeypatch
) -> None:
    monkeypatch.setattr("ingest.camera_list.RELOAD_EVERY_S", 0.2)
    answers = iter([[], DatabaseUnavailableError("SQL is away"), DatabaseUnavailableError("SQL is away")])
    stop = threading.Event()

    def load_cameras() -> list[Camera]:
        answer = next(answers, [camera_for(str(clip), "late")])
        if isinstance(answer, Exception):
            raise answer
        return answer

    supervisor = Supervisor(options, lambda _: None)
    running = threading.Thread(target=supervisor.run, args=(load_cameras, stop))
    running.start()
    wait_until(lambda: captured(queue, "late") == 100, 15, "the camera that came later")
    stop.set()
    running.join(timeout=10)
    assert not running.is_alive()
    assert len([record for record in caplog.records if "SQL is away" in record.message]) == 1


def test_states_are_kept_for_status(supervisor: Supervisor, rtsp_server: RtspServer, redis_url: str) -> None:
    supervisor.set_cameras([Camera("gate", rtsp_server.url()), Camera("bad", "/nowhere.mp4")])
    with make_redis(redis_url) as client:
        states = CameraStates(client, NAMESPACE)

        def found() -> dict[str, CameraActivity]:
            return {state.camera: state.activity for state in states.load() if state.fps_in or state.error}

        look_until(
            supervisor,
            lambda: found() == {"bad": CameraActivity.FAILED, "gate": CameraActivity.LIVE},
            15,
            "the states of both cameras",
        )
        supervisor.set_cameras([])
        assert states.load() == []


def test_a_silent_camera_is_stalled_until_it_goes_on(
    redis_url: str, queue: FrameQueue, rtsp_server: RtspServer
) -> None:
    events: list[CameraEvent] = []
    options = IngestOptions(
        redis_url, NAMESPACE, QueueLimits(camera_max_frames=1000), ReaderOptions("tiny", stall_timeout_s=6.0)
    )
    supervisor = Supervisor(options, lambda _: None, on_event=events.append)

    def told() -> list[CameraActivity]:
        return [event.activity for event in events]

    supervisor.set_cameras([Camera("gate", rtsp_server.url())])
    try:
        look_until(supervisor, lambda: captured(queue, "gate"), 15, "the first frame")
        rtsp_server.fault = Fault.FREEZE
        look_until(supervisor, lambda: told()[-1] is CameraActivity.STALLED, 7, "the silence to be told")
        rtsp_server.fault = Fault.NONE
        look_until(supervisor, lambda: told()[-1] is CameraActivity.LIVE, 15, "a live camera again")
        rtsp_server.fault = Fault.FREEZE
        look_until(supervisor, lambda: told()[-1] is CameraActivity.BACKING_OFF, 20, "the loss")
    finally:
        supervisor.stop()
    assert told()[:6] == ["connecting", "live", "stalled", "live", "stalled", "backing_off"]
    assert re.fullmatch(r"nothing came for [345]\.\d s", events[2].reason or "")
    assert events[3].reason is None
    assert "nothing came for 6 s" in (events[5].reason or "")


def test_a_stop_in_mid_stream_counts_everything(
    supervisor: Supervisor, queue: FrameQueue, rtsp_server: RtspServer
) -> None:
    supervisor.set_cameras([Camera("gate", rtsp_server.url(), fps=2)])
    look_until(supervisor, lambda: captured(queue, "gate") > 10, 15, "frames")
    supervisor.stop()
    (report,) = supervisor.reports()
    ledger = queue.ledger("gate")
    assert (ledger.captured, ledger.balance) == (report.captured, 0)
    assert report.error is None


def test_a_stop_does_not_wait_for_a_frozen_camera(
    supervisor: Supervisor, queue: FrameQueue, rtsp_server: RtspServer, redis_url: str
) -> None:
    patient = ReaderOptions("tiny", open_timeout_s=60.0, stall_timeout_s=60.0)
    supervisor = Supervisor(IngestOptions(redis_url, NAMESPACE, QueueLimits(), patient), lambda _: None)
    supervisor.set_cameras([Camera("gate", rtsp_server.url(), fps=2)])
    look_until(supervisor, lambda: captured(queue, "gate") > 10, 15, "frames")
    rtsp_server.fault = Fault.FREEZE
    asked_at = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - asked_at < 6
    (report,) = supervisor.reports()
    assert (queue.ledger("gate").captured, queue.ledger("gate").balance) == (report.captured, 0)


PARENT = """
import sys, time
from core.frame_queue import QueueLimits
from core.types import Camera
from ingest.messages import IngestOptions
from ingest.reader import ReaderOptions
from ingest.supervisor import Supervisor
supervisor = Supervisor(IngestOptions(sys.argv[1], "orphans", QueueLimits(), ReaderOptions("tiny")), print)
supervisor.set_cameras([Camera("gate", sys.argv[2])])
while True:
    supervisor.look()
    print(*supervisor.process_ids().values(), flush=True)
    time.sleep(0.1)
"""


def test_camera_processes_do_not_outlive_a_killed_supervisor(redis_url: str, rtsp_server: RtspServer) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, redis_url, rtsp_server.url()], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline().split()[0])
        parent.kill()
    wait_until(lambda: not psutil.pid_exists(child), 10, "the camera process to end")


def test_a_password_is_not_on_the_command_line_nor_in_the_log(
    supervisor: Supervisor, clip: Path, queue: FrameQueue, redis_url: str, caplog, capfd
) -> None:
    caplog.set_level(logging.DEBUG)
    with RtspServer(encode_clip(clip), users={"viewer": "hush-hush"}) as server:
        supervisor.set_cameras([Camera("gate", server.url("viewer", "hush-hush"))])
        look_until(supervisor, lambda: captured(queue, "gate"), 15, "the first frame")
        command = psutil.Process(supervisor.process_ids()["gate"]).cmdline()
        server.drop_clients()
        look_until(supervisor, lambda: "lost:" in caplog.text, 10, "the loss")
        supervisor.stop()
    with make_redis(redis_url) as client:
        client.config_set("rdbcompression", "no")  # which DUMP follows
        kept = [client.dump(key) for key in client.keys("*")]
    assert any(b"gate" in value for value in kept)
    assert "hush-hush" not in " ".join(command)
    assert "hush-hush" not in caplog.text + "".join(capfd.readouterr())
    assert not any(b"hush-hush" in value for value in kept)


def test_a_camera_process_is_light(
    supervisor: Supervisor, queue: FrameQueue, rtsp_server: RtspServer
) -> None:
    supervisor.set_cameras([Camera("gate", rtsp_server.url())])
    look_until(supervisor, lambda: captured(queue, "gate"), 15, "the first frame")
    process = psutil.Process(supervisor.process_ids()["gate"])
    libraries = " ".join(mapped.path for mapped in process.memory_maps())
    assert "torch" not in libraries
    assert "sqlalchemy" not in libraries
    assert process.memory_info().rss < 250e6


def test_two_hundred_frames_a_second_of_pictures_keep_their_order(
    supervisor: Supervisor, queue: FrameQueue, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "fast.mp4", frames=200, fps=200)
    supervisor.set_cameras([camera_for(str(clip), "fast")])
    supervisor.wait_until_ended(threading.Event())
    frames = [one.frame for one in queue.claim("tiny", "test", 1000, 0.0)]
    assert [frame.index for frame in frames] == list(range(200))
