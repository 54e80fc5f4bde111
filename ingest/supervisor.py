"""One process per camera: each is started, watched, changed and stopped without touching the others.

Where several ingest processes share the cameras, a camera is read only while its lease is held here
(ingest/lease_keeper.py), and the lease is given up only after the camera's process has ended.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from core.camera_state import CameraActivity, CameraEvent, CameraState, CameraStates, new_state, with_activity
from core.errors import QueueUnavailableError
from core.frame_queue import FrameQueue
from core.redis_client import make_redis
from core.types import Camera, Policy
from ingest.activity import ActivityChanges
from ingest.backoff import Backoff
from ingest.camera_handle import CameraHandle
from ingest.camera_list import FollowedCameras
from ingest.lease_keeper import LeaseKeeper
from ingest.messages import IngestOptions, Job
from ingest.reader import CaptureReport

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 0.1
HOUSEKEEP_EVERY_S = 1.0
HEALTHY_AFTER_S = 30.0
MOST_RESTARTS_OF_A_RECORDING = 3
"""A file that crashes its process would do so for ever."""


@dataclass(slots=True)
class _Slot:
    """One wanted camera, with its process while it has one."""

    camera: Camera
    lease: str
    """Token of the lease; empty where cameras are not shared."""
    backoff: Backoff
    handle: CameraHandle | None = None
    next_handle: CameraHandle | None = None
    """Started while the camera's last process is still ending; it reads nothing yet."""
    start_at: float = 0.0
    deaths: int = 0
    report: CaptureReport | None = None
    state: CameraState | None = None


class Supervisor:
    """Keeps one process per wanted camera running. Not thread-safe, except for `reports` and `states`."""

    def __init__(
        self,
        options: IngestOptions,
        ring: Callable[[str], None],
        *,
        leases: LeaseKeeper | None = None,
        on_event: Callable[[CameraEvent], None] = lambda _: None,
    ) -> None:
        """`ring(model)` sends the doorbell. `leases` shares the cameras with other processes, and
        is closed by `stop`. `on_event` gets every change of a camera's activity, from whatever thread, and
        must not block.
        """
        self._options, self._ring = options, ring
        self._leases = leases
        self._changes = ActivityChanges(leases.process if leases else "", on_event)
        client = make_redis(options.redis_url)
        self._queue = FrameQueue(client, options.limits, options.namespace, ring)
        self._states = CameraStates(client, options.namespace)
        self._wanted: dict[str, Camera] = {}
        self._slots: dict[str, _Slot] = {}
        self._leaving: list[CameraHandle] = []
        self._known: set[str] = set()
        """Cameras of which it was looked up since when nobody had read them."""
        self._housekept_at = 0.0
        self._complained = False

    # ---- what is wanted ---------------------------------------------------------------------------------

    def set_cameras(self, cameras: Sequence[Camera]) -> None:
        """Starts, restarts and stops what differs from now; all other cameras are left alone."""
        before, self._wanted = self._wanted, {camera.name: camera for camera in cameras if camera.enabled}
        if self._leases is not None:
            self._leases.want(self._wanted)
        self.look()
        for name in before.keys() - self._wanted.keys():
            LOG.info("camera %s: removed", name)
            self._try(partial(self._states.forget, name))

    def _follow(self) -> None:
        """Makes the slots agree with the wanted cameras, and with the leases that are held."""
        leases = dict.fromkeys(self._wanted, "") if self._leases is None else self._leases.readable()
        wanted = {name: (camera, leases[name]) for name, camera in self._wanted.items() if name in leases}
        for name, slot in list(self._slots.items()):
            if (slot.camera, slot.lease) != wanted.get(name):
                del self._slots[name]
                self._dismiss(slot)
        for name, (camera, lease) in wanted.items():
            if name not in self._slots:
                reader = self._options.reader
                backoff = Backoff(reader.reconnect_min_s, reader.reconnect_max_s)
                self._slots[name] = _Slot(camera, lease, backoff)

    def _dismiss(self, slot: _Slot) -> None:
        for handle in (slot.handle, slot.next_handle):
            if handle is not None:
                handle.ask_to_stop()
                self._leaving.append(handle)

    def _settle_leases(self, leases: LeaseKeeper) -> None:
        """Gives up the leases of cameras whose processes have ended and will not be started again here."""
        still_read = self._slots.keys() | {handle.camera.name for handle in self._leaving}
        leases.release(leases.held() - still_read)
        leases.settle({name for name, slot in self._slots.items() if slot.report is not None})

    # ---- the loop ---------------------------------------------------------------------------------------

    def run(self, load_cameras: Callable[[], Sequence[Camera]], stop: threading.Event) -> None:
        """Follows the configured cameras until `stop` is set, then stops them all."""
        followed, known = FollowedCameras(load_cameras), None
        try:
            while not stop.is_set():
                cameras = followed.newest()
                if cameras is not None and cameras != known:
                    self.set_cameras(cameras)
                    self._try(partial(self._states.keep_only, list(self._wanted)))
                    known = cameras
                self.look()
                stop.wait(LOOK_EVERY_S)
        finally:
            followed.close()
            self.stop()

    def wait_until_ended(
        self, stop: threading.Event, *, while_waiting: Callable[[], None] | None = None
    ) -> list[CaptureReport]:
        """Returns the reports once every camera has ended, or after `stop` was set and all were stopped.

        `while_waiting` is called about ten times a second, e.g. to draw progress.
        """
        try:
            while not stop.is_set() and not self.all_ended:
                self.look()
                if while_waiting is not None:
                    while_waiting()
                stop.wait(LOOK_EVERY_S)
        finally:
            self.stop()
        return self.reports()

    def look(self) -> None:
        """One round: notes what ended, starts what is due, kills what hangs; once a second keeps house."""
        self._follow()
        self._leaving = [handle for handle in self._leaving if not self._has_left(handle)]
        still_leaving = {handle.camera.name for handle in self._leaving}
        for name, slot in self._slots.items():
            if slot.handle is not None:
                self._watch(slot, slot.handle)
            elif slot.report is None and time.monotonic() >= slot.start_at:
                self._start(slot, may_read=name not in still_leaving)
        if self._leases is not None:
            self._settle_leases(self._leases)
        if time.monotonic() - self._housekept_at >= HOUSEKEEP_EVERY_S:
            self._housekept_at = time.monotonic()
            self._try(self._housekeep)

    def stop(self) -> None:
        """Stops all cameras: each counts what it holds; one that does not end in time is killed."""
        for slot in self._slots.values():
            if slot.handle is not None:
                slot.handle.ask_to_stop()
            if slot.next_handle is not None:
                slot.next_handle.ask_to_stop()
                self._leaving.append(slot.next_handle)
        while self._leaving or any(slot.handle is not None for slot in self._slots.values()):
            self._leaving = [handle for handle in self._leaving if not self._has_left(handle)]
            for slot in self._slots.values():
                if slot.handle is not None and self._has_left(slot.handle):
                    self._note_end(slot, slot.handle)
            time.sleep(LOOK_EVERY_S / 5)
        self._try(self._housekeep)
        if self._leases is not None:
            self._leases.close()

    # ---- what is known ----------------------------------------------------------------------------------

    @property
    def all_ended(self) -> bool:
        """Whether every camera has a final report."""
        return all(slot.report is not None for slot in self._slots.values())

    def reports(self) -> list[CaptureReport]:
        """The final reports so far."""
        return [slot.report for slot in list(self._slots.values()) if slot.report is not None]

    def states(self) -> list[CameraState]:
        """What every camera is doing."""
        states = [slot.handle.state if slot.handle else slot.state for slot in list(self._slots.values())]
        return [state for state in states if state is not None]

    def process_ids(self) -> dict[str, int]:
        """Camera name to process id, of those that run."""
        running = [(name, slot.handle) for name, slot in list(self._slots.items())]
        return {name: handle.pid for name, handle in running if handle is not None}

    # ---- one camera -------------------------------------------------------------------------------------

    def _start(self, slot: _Slot, *, may_read: bool) -> None:
        """Starts the camera's process, and lets it read once no other process of the camera is left."""
        if slot.next_handle is None:
            job = Job(slot.camera, self._options, slot.lease)
            try:
                slot.next_handle = CameraHandle(job, self._ring, on_state=self._changes.note)
            except OSError as error:  # no descriptor, process or memory left just now
                self._put_off(slot, f"its process cannot be started ({error.strerror})")
                return
        if may_read:
            slot.handle, slot.next_handle = slot.next_handle, None
            slot.handle.begin()

    def _watch(self, slot: _Slot, handle: CameraHandle) -> None:
        if handle.exit_code is None:
            if handle.is_silent():
                LOG.error("camera %s: its process says nothing; killing it", slot.camera.name)
                handle.kill()
            return
        handle.close()
        self._note_end(slot, handle)
        if slot.report is not None:
            return
        if handle.report is not None and handle.report.lease_lost:
            # The leases will tell so, too; until then, what the camera does is for the other process to tell.
            slot.state, slot.start_at = None, time.monotonic() + slot.backoff.next_s()
            return
        if time.monotonic() - handle.started_at > HEALTHY_AFTER_S:
            slot.backoff.reset()
            slot.deaths = 0
        slot.deaths += 1
        if slot.camera.policy is Policy.WAIT and slot.deaths > MOST_RESTARTS_OF_A_RECORDING:
            error = f"camera {slot.camera.name}: its process died {slot.deaths} times"
            slot.report = CaptureReport(slot.camera.name, error=error)
            LOG.error("%s; giving up", error)
            return
        what = "died" if handle.report is None else "stopped without being asked to"
        self._put_off(slot, f"its process {what} (exit code {handle.exit_code})")

    def _put_off(self, slot: _Slot, why: str) -> None:
        """Has the camera's process started later, with longer and longer waits."""
        wait_s = slot.backoff.next_s()
        slot.start_at = time.monotonic() + wait_s
        name = slot.camera.name
        LOG.error("camera %s: %s; starting it anew in %.1f s", name, why, wait_s)
        before = slot.state or new_state(name, CameraActivity.CONNECTING)
        slot.state = with_activity(before, CameraActivity.BACKING_OFF, why)
        self._changes.note(slot.state)

    @staticmethod
    def _has_left(handle: CameraHandle) -> bool:
        handle.kill_if_overdue()
        if handle.exit_code is None:
            return False
        handle.close()
        return True

    @staticmethod
    def _note_end(slot: _Slot, handle: CameraHandle) -> None:
        """Takes a report as the last one where a stop was asked for, or the source is done with."""
        slot.handle, slot.state = None, handle.state
        if handle.is_stopping or handle.state.activity in (CameraActivity.ENDED, CameraActivity.FAILED):
            slot.report = handle.report
        if handle.is_stopping and slot.report is None:  # killed in its grace
            slot.report = CaptureReport(slot.camera.name, error="its process had to be killed")

    # ---- everything else --------------------------------------------------------------------------------

    def _housekeep(self) -> None:
        now = datetime.now(UTC)
        process = self._leases.process if self._leases else None
        self._note_gaps(now)
        self._states.save([replace(state, reported_at=now, ingest=process) for state in self.states()])
        self._queue.sweep()

    def _note_gaps(self, now: datetime) -> None:
        """Tells of new cameras since when nobody has read them, where their last process was killed."""
        names = set(self._slots)
        if new := names - self._known:
            for state in self._states.load():
                if state.camera in new and state.is_silent(now):
                    self._changes.note_gap(state)
        self._known = names

    def _try(self, step: Callable[[], None]) -> None:
        """Redis may be away for a while: said once, and the cameras go on."""
        try:
            step()
        except QueueUnavailableError as error:
            if not self._complained:
                LOG.warning("%s; the cameras go on", error)
            self._complained = True
        else:
            self._complained = False
