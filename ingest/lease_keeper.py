"""A thread that keeps this process's leases alive, whatever the supervisor's loop is waiting for."""

import logging
import threading
import time
from collections.abc import Collection, Mapping

from core.camera_leases import CameraLeases, LeaseRound
from core.errors import QueueUnavailableError

LOG = logging.getLogger(__name__)
ROUNDS_PER_LEASE = 4


class LeaseKeeper:
    """Holds leases on the wanted cameras, as many as this process's share; every method is thread-safe.

    While Redis is away the cameras go on: nobody can publish anyhow, and the lease is asked for again later.
    Only where others share the cameras, a process that has not reached Redis for two leases gives up its
    own: they may have been taken by a process that can.
    """

    def __init__(self, leases: CameraLeases) -> None:
        self._leases = leases
        self._wake, self._closed, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._wanted: list[str] = []
        self._settled: frozenset[str] = frozenset()
        self._released: set[str] = set()
        self._round = LeaseRound()
        self._renewed_at = time.monotonic()
        self._patient_until = 0.0
        self._away = self._stopped_all = False
        self._thread = threading.Thread(target=self._run, name="camera-leases", daemon=True)
        self._thread.start()

    @property
    def process(self) -> str:
        """The name by which the others know this process."""
        return self._leases.process

    def want(self, cameras: Collection[str]) -> None:
        """The cameras that somebody must read."""
        wanted = sorted(cameras)
        with self._lock:
            if wanted == self._wanted:
                return
            self._wanted = wanted
        self._wake.set()

    def settle(self, cameras: Collection[str]) -> None:
        """Held cameras that were read to their end: they stay here, and make room in this process's share."""
        with self._lock:
            self._settled = frozenset(cameras)

    def readable(self) -> Mapping[str, str]:
        """The cameras that this process may read now, each with the token for its frames."""
        with self._lock:
            silent_s = time.monotonic() - self._renewed_at
            if self._round.processes > 1 and silent_s > 2 * self._leases.lease_s:
                self._say_that_all_stop()
                return {}
            return {
                camera: token
                for camera, token in self._round.held.items()
                if camera not in self._round.giving and camera not in self._released
            }

    def release(self, cameras: Collection[str]) -> None:
        """Gives up leases on cameras that are not read any more, as soon as Redis answers."""
        with self._lock:
            new = {camera for camera in cameras if camera in self._round.held} - self._released
            self._released |= new
        if new:
            self._wake.set()

    def held(self) -> frozenset[str]:
        """Every camera that no other process may read, those to be handed over included."""
        with self._lock:
            return frozenset(self._round.held)

    def close(self) -> None:
        """Ends the thread and gives up everything; one try."""
        self._closed.set()
        self._wake.set()
        self._thread.join()
        try:
            self._leases.leave()
        except QueueUnavailableError as error:
            LOG.warning("the leases of this process run out by themselves: %s", error)

    def _say_that_all_stop(self) -> None:
        if not self._stopped_all:
            LOG.warning("Redis is away, and other ingest processes may have the cameras; stopping them here")
        self._stopped_all = True

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._renew()
            except QueueUnavailableError as error:
                if not self._away:
                    LOG.warning("%s; the cameras go on", error)
                self._away = True
            except Exception as error:  # noqa: BLE001 - without this thread the others would take all cameras
                LOG.error("leases of cameras: unexpected %s: %s", type(error).__name__, error)
            self._wake.wait(self._leases.lease_s / ROUNDS_PER_LEASE)
            self._wake.clear()

    def _renew(self) -> None:
        with self._lock:
            wanted, settled, released = list(self._wanted), self._settled, frozenset(self._released)
        if released:
            self._leases.release(released)
        asked_at = time.monotonic()
        found = self._leases.renew(wanted, settled, may_take=asked_at >= self._patient_until)
        if not found.known:
            # Others that Redis has forgotten too must have the time to tell what they read.
            self._patient_until = asked_at + self._leases.lease_s / 2
        with self._lock:
            before, self._round, self._renewed_at = self._round, found, asked_at
            self._released -= released
        self._away = self._stopped_all = False
        _tell(before, found, released)


def _tell(before: LeaseRound, after: LeaseRound, released: frozenset[str]) -> None:
    for camera in sorted(after.taken_over):
        LOG.warning("camera %s: taken over from %s, which fell silent", camera, after.taken_over[camera])
    for camera in sorted(after.giving - before.giving):
        LOG.info("camera %s: handed over to another ingest process", camera)
    for camera in sorted(set(before.held) - set(after.held) - released):
        LOG.warning("camera %s: another ingest process reads it by now; stopping here", camera)
    if before.processes != after.processes:
        LOG.info("%d ingest processes share the cameras", after.processes)
