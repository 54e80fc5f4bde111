"""Bells: who drains which model, and when a Celery message must be sent."""

import logging
import uuid
from collections.abc import Callable

import redis

from core.errors import QueueUnavailableError, SettingsError
from core.queue_scripts import QueueScripts
from core.queue_types import Bell, QueueLimits

LOG = logging.getLogger(__name__)


def microseconds(seconds: float) -> int:
    """The unit of every time that the scripts take."""
    return round(seconds * 1_000_000)


class QueueBells:
    """The part of the frame queue that wakes workers."""

    def __init__(
        self, redis: redis.Redis, limits: QueueLimits, namespace: str, ring: Callable[[str], None]
    ) -> None:
        if redis.get_encoder().decode_responses:
            raise SettingsError("expected a Redis client that answers bytes, got one with decode_responses")
        self._scripts = QueueScripts(redis, namespace)
        self._limits = limits
        self._ring = ring
        self._broker_away = False

    @property
    def _lease_us(self) -> int:
        return microseconds(self._limits.bell_timeout_s)

    def answer_bell(self, model: str, consumer: str) -> Bell | None:
        """Takes up one ring; None when others drain the model already and this one is not needed.

        The lease runs for bell_timeout_s and is renewed by `claim(bell=...)` and `renew_bell`. A holder that
        outlives its lease does no harm: another drain may start beside it.
        """
        bell = Bell(model, consumer, f"{consumer}/{uuid.uuid4().hex}")
        needed = self._scripts.run("answer_bell", model, bell.token, self._lease_us)
        return bell if needed else None

    def renew_bell(self, bell: Bell) -> None:
        """Starts the lease anew, e.g. while a long batch runs; nothing for a bell that was left meanwhile."""
        self._scripts.run("renew_bell", bell.model, bell.token, self._lease_us)

    def leave_bell(self, bell: Bell, *, quietly: bool = False) -> bool:
        """Ends a drain, and rings again in the same step if frames still wait; False if it could not ring.

        `quietly` leaves that to the next `sweep` or frame, for a worker that cannot serve just now.
        """
        bells = self._scripts.run(
            "leave_bell", bell.model, bell.consumer, bell.token, self._lease_us, 1 if quietly else 0
        )
        return self._ring_bells(bell.model, bells) == int(bells)

    def sweep(self, model: str | None = None) -> int:
        """Heals what nobody else would notice: call it about once a second from any long-lived process.

        Gives back frames whose holder died, forgets silent workers and consumers, and rings for frames that
        wait without a live bell (a Celery message can get lost). None: all models. Returns the bells rung.
        """
        rung = 0
        for name in [model] if model is not None else self.models():
            rung += self._ring_bells(name, self._scripts.run("sweep", name, *self._recovery()))
        return rung

    def _ring_bells(self, model: str, count: int) -> int:
        """Returns how many were rung; frames of the others are safe, and the next sweep rings for them."""
        for rung in range(int(count)):
            try:
                self._ring(model)
            except BaseException as error:
                self._unring(model, count - rung)
                if not isinstance(error, QueueUnavailableError):
                    raise
                if not self._broker_away:
                    LOG.warning("frames of %s wait until Celery's broker is back: %s", model, error)
                self._broker_away = True
                return rung
            self._broker_away = False
        return int(count)

    def _unring(self, model: str, count: int) -> None:
        """Takes back bells that could not be rung; if this fails too they expire after bell_timeout_s."""
        try:
            self._scripts.run("unring", model, count)
        except QueueUnavailableError as error:
            LOG.debug("bell of %s stays until it expires: %s", model, error)

    def _recovery(self) -> tuple[int, int, int, int, int]:
        limits = self._limits
        return (
            self._lease_us,
            microseconds(limits.claim_timeout_s),
            limits.max_deliveries,
            limits.dead_max_frames,
            limits.dead_max_bytes,
        )

    def models(self) -> list[str]:
        """Models that have or had a queue or a worker, sorted."""
        return sorted(name.decode() for name in self._scripts.run("models"))
