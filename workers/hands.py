"""What the drains of one process hold: their bells and claims, so that a thread can keep them alive."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from core.queue_types import Bell, ClaimedFrame


@dataclass(frozen=True, slots=True)
class Held:
    """A batch in hand."""

    model: str
    frames: Sequence[ClaimedFrame]
    since_s: float
    """On the monotonic clock."""


class Hands:
    """Thread-safe; drains put in and take out, the keeper looks."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._bells: dict[str, Bell] = {}
        self._batches: dict[int, Held] = {}

    @contextmanager
    def bell(self, bell: Bell) -> Iterator[None]:
        """The bell is held while the body runs."""
        with self._lock:
            self._bells[bell.token] = bell
        try:
            yield
        finally:
            with self._lock:
                del self._bells[bell.token]

    @contextmanager
    def batch(self, model: str, frames: Sequence[ClaimedFrame]) -> Iterator[None]:
        """The frames are in hand while the body runs."""
        held = Held(model, frames, time.monotonic())
        with self._lock:
            self._batches[id(held)] = held
        try:
            yield
        finally:
            with self._lock:
                del self._batches[id(held)]
                self._lock.notify_all()

    def bells(self) -> list[Bell]:
        """The bells held now."""
        with self._lock:
            return list(self._bells.values())

    def batches_older_than(self, age_s: float) -> list[Held]:
        """Batches that have been in hand for longer."""
        taken_before = time.monotonic() - age_s
        with self._lock:
            return [held for held in self._batches.values() if held.since_s < taken_before]

    def wait_for_one_batch(self, timeout_s: float) -> bool:
        """True as soon as no more than one batch is in hand; False after `timeout_s`."""
        with self._lock:
            return self._lock.wait_for(lambda: len(self._batches) <= 1, timeout_s)
