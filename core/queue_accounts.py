"""What people, dashboards and the database ask of the frame queue: ledgers, depths, dead letters, workers."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from core.queue_answers import read_dead_letter, read_depth, read_ledger, read_minutes
from core.queue_bells import QueueBells, microseconds
from core.queue_types import DeadLetter, QueueDepth, WorkerBeat
from core.types import Ledger, LedgerMinute, from_microseconds, to_microseconds


class QueueAccounts(QueueBells):
    """The part of the frame queue that tells what became of the frames."""

    def ledger(self, camera: str) -> Ledger:
        """One camera's account; all zero for an unknown camera."""
        return read_ledger(self._scripts.run("ledger", camera)[0])

    def ledgers(self) -> list[Ledger]:
        """The accounts of all cameras, sorted by name."""
        return sorted(map(read_ledger, self._scripts.run("ledger")), key=lambda ledger: ledger.camera)

    def ledger_minutes(self) -> list[LedgerMinute]:
        """Absolute counts per camera and minute of the Redis server's clock, oldest first.

        An event counts in the minute in which it happened, so a frame may be captured in one and stored in
        the next. Writing them as they are over older ones is idempotent.
        """
        return read_minutes(self._scripts.run("ledger_minutes"))

    def forget_ledger_minutes(self, before: datetime) -> None:
        """Forgets minutes that are safely in SQL: those that began before `before`; never the current one.

        Give the `minute` of the newest row that the preceding `ledger_minutes` returned.
        """
        self._scripts.run("forget_minutes", to_microseconds(before) // 60_000_000)

    def depth(self, model: str) -> list[QueueDepth]:
        """How much of each camera is on Redis, sorted by camera; idle cameras too."""
        rows = self._scripts.run("depth", model)
        return sorted((read_depth(row, model) for row in rows), key=lambda depth: depth.camera)

    def forget_cameras(self, cameras: Collection[str]) -> set[str]:
        """Removes counters and ledgers of those cameras of which no frame and no dead letter is left.

        Their minutes stay to be flushed. Returns the names of the forgotten; ask again for the others.
        """
        return {one.decode() for one in self._scripts.run("forget_cameras", *cameras)} if cameras else set()

    def dead_letters(self, model: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The newest dead letters of a model (None: of all), each with its picture, oldest first."""
        found: list[DeadLetter] = []
        for name in [model] if model is not None else self.models():
            found += [read_dead_letter(row, name) for row in self._scripts.run("dead_letters", name, limit)]
        return sorted(found, key=lambda letter: letter.failed_at)[-limit:]

    def replay_dead(self, model: str, ids: Sequence[str] | None = None) -> int:
        """Puts dead letters (None: all) back on their queues with fresh deliveries; no longer failed.

        They never turn stale and make no room for others, as a person asked for them. Returns how many:
        those for which camera_max_frames, camera_max_bytes or queue_max_bytes leaves no room stay.
        """
        chosen = self.dead_ids(model) if ids is None else ids
        replayed = 0
        for one in chosen:
            moved, bells = self._scripts.run(
                "replay_dead",
                model,
                one,
                self._lease_us,
                self._limits.camera_max_frames,
                self._limits.camera_max_bytes,
                self._limits.queue_max_bytes,
            )
            self._ring_bells(model, bells)
            replayed += int(moved)
        return replayed

    def drop_dead(self, model: str, ids: Sequence[str] | None = None) -> int:
        """Deletes dead letters (None: all) for good; they stay counted as failed. Returns how many."""
        chosen = self.dead_ids(model) if ids is None else ids
        return sum(int(self._scripts.run("drop_dead", model, one)) for one in chosen)

    def dead_ids(self, model: str) -> list[str]:
        """Ids of all dead letters of a model, oldest first, without their pictures."""
        return [one.decode() for one in self._scripts.run("dead_ids", model)]

    def heartbeat(self, beat: WorkerBeat) -> None:
        """Reports a live worker; its slots and batch size steer how many bells are rung."""
        self._scripts.run(
            "heartbeat",
            beat.worker,
            beat.to_json(),
            microseconds(self._limits.worker_timeout_s),
            *beat.models,
        )

    def retire(self, worker: str, consumers: Sequence[str] = ()) -> None:
        """A worker's clean exit: its slots no longer count, its idle consumers are deleted."""
        self._scripts.run("retire", worker, *consumers)

    def workers(self) -> list[WorkerBeat]:
        """Workers heard of within worker_timeout_s, sorted by name."""
        rows: list[Any] = self._scripts.run("workers", microseconds(self._limits.worker_timeout_s))
        beats = [WorkerBeat.from_json(text, from_microseconds(int(seen))) for text, seen in rows]
        return sorted(beats, key=lambda beat: beat.worker)

    def server_time(self) -> datetime:
        """The Redis server's clock, on which leases and ages are measured."""
        return from_microseconds(int(self._scripts.run("server_time"))).astimezone(UTC)
