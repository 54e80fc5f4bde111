"""Who reads which camera: leases on Redis, by which any number of ingest processes share the cameras evenly.

A process renews all its leases at once, several times within `lease_s`; one that falls silent loses them to
the others. Its frames are refused from the moment that another has the lease (core/frame_queue.py), also if
it was only stopped and wakes up later.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import redis

from core.queue_bells import microseconds
from core.queue_scripts import QueueScripts


@dataclass(frozen=True, slots=True)
class LeaseRound:
    """What one renewal brought."""

    held: Mapping[str, str] = field(default_factory=dict)
    """Camera name to the token that its frames carry."""
    giving: frozenset[str] = frozenset()
    """Of `held`: to be handed over; stop reading, then release."""
    processes: int = 1
    """Live ingest processes, this one included."""
    taken_over: Mapping[str, str] = field(default_factory=dict)
    """Cameras taken now from a process that fell silent, with that process's name."""
    known: bool = True
    """False when Redis had not heard of this process within `lease_s`."""


class CameraLeases:
    """The leases of one ingest process. Not thread-safe. Every method raises QueueUnavailableError."""

    def __init__(self, client: redis.Redis, namespace: str, process: str, lease_s: float) -> None:
        """`process` is a name that no other process of the fleet has, without blanks."""
        self.process = process
        self.lease_s = lease_s
        self._scripts = QueueScripts(client, namespace)
        self._round = LeaseRound()
        self._rounds = 0

    def renew(
        self, wanted: Sequence[str], settled: Collection[str] = (), *, may_take: bool = True
    ) -> LeaseRound:
        """Renews what is held, takes free cameras up to a fair share, and says which to hand over.

        `settled` cameras were read to their end: they stay here, and count for nobody's share. With
        `may_take` off no camera is added.
        """
        asked = {
            "wanted": list(wanted),
            "settled": list(settled),
            "held": dict(self._round.held),
            "known": self._rounds > 0,
            "may_take": may_take,
        }
        token = str(self._rounds)
        processes, known, leases, taken = self._scripts.run(
            "share_cameras", self.process, microseconds(self.lease_s), token, json.dumps(asked)
        )
        self._round = LeaseRound(
            held={camera.decode(): held.decode() for camera, held, _ in leases},
            giving=frozenset(camera.decode() for camera, _, note in leases if note == b"giving"),
            processes=int(processes),
            taken_over={camera.decode(): before.decode() for camera, before in taken},
            known=bool(known) or self._rounds == 0,
        )
        self._rounds += 1
        return self._round

    def release(self, cameras: Collection[str]) -> None:
        """Gives up leases, after their cameras are not read any more."""
        held = {camera: token for camera, token in self._round.held.items() if camera in cameras}
        if held:
            words = [word for pair in held.items() for word in pair]
            self._scripts.run("release_cameras", self.process, 0, *words)
            kept = {camera: token for camera, token in self._round.held.items() if camera not in held}
            self._round = replace(self._round, held=kept)

    def leave(self) -> None:
        """The process's clean exit: the others may take its cameras at once."""
        self._scripts.run("release_cameras", self.process, 1)


def ingest_processes(client: redis.Redis, namespace: str) -> list[str]:
    """Names of the live ingest processes, sorted. Raises QueueUnavailableError."""
    return sorted(name.decode() for name in QueueScripts(client, namespace).run("ingest_processes"))
