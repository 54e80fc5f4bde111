"""Rows first, acknowledgement after: results stay in hand until both are done, or are given back."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from sqlalchemy.exc import DataError

from core.errors import DatabaseUnavailableError, InferenceError, QueueUnavailableError, UsageError
from core.queue_types import ClaimedFrame
from core.types import FrameResult, WeightsInfo
from storage.faults import first_line
from workers.backoff import backoff_delays
from workers.context import WorkerContext

logger = logging.getLogger(__name__)


class ResultWriter(Protocol):
    """`storage.writer.Writer`, or what a measurement puts in its place."""

    def write(self, results: Sequence[FrameResult], weights: WeightsInfo) -> object:
        """Commits all or nothing; raises DatabaseUnavailableError when it may be tried again."""

    def close(self) -> None:
        """Called after the last batch."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a batch is kept in hand while a server is away."""

    database_s: float = 60.0
    """Then its frames go back to the queue, for workers that may still reach the database."""
    queue_s: float = 60.0
    """Then its frames are left to their time-out; they are stored, and come again without harm."""
    first_delay_s: float = 0.1
    most_delay_s: float = 2.0


DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Done:
    """A claimed frame with its result."""

    claimed: ClaimedFrame
    result: FrameResult


@dataclass(frozen=True, slots=True)
class _Refused:
    """A frame that SQL does not take."""

    done: Done
    error: Exception

    @property
    def identity(self) -> tuple[str, str]:
        return self.done.claimed.frame.camera, self.done.claimed.entry_id

    @property
    def reason(self) -> type[BaseException]:
        """The driver's error, where there is one."""
        return type(getattr(self.error, "orig", None) or self.error)

    @property
    def may_be_sound(self) -> bool:
        of_its_values = isinstance(self.error, InferenceError | DataError)
        return self.done.claimed.delivery == 1 and not of_its_values

    @property
    def text(self) -> str:
        return f"{type(self.error).__name__}: {first_line(self.error)}"


AfterStoring: TypeAlias = Callable[[Sequence[Done]], None]
"""Called with frames whose rows are committed and that were acknowledged; must not raise."""


class Store:
    """Commits batches of one model and acknowledges them; drains may share it."""

    def __init__(
        self,
        model: str,
        context: WorkerContext,
        writer: ResultWriter,
        weights: WeightsInfo,
        patience: Patience = DEFAULT_PATIENCE,
        after: Sequence[AfterStoring] = (),
    ) -> None:
        self._model = model
        self._context = context
        self._queue = context.queue
        self._writer = writer
        self._weights = weights
        self._patience = patience
        self._after = after
        self._blamed: dict[tuple[str, str], type[BaseException]] = {}
        """Frames that failed since SQL last took one, and the kind of its refusal."""

    def store(self, batch: Sequence[Done]) -> None:
        """Commits the rows, then acknowledges the frames.

        A batch that SQL refuses is stored frame by frame, and the refused frames fail.
        Raises DatabaseUnavailableError when SQL stays away for too long, while the worker stops, or when SQL
        refuses one frame like the other, and UsageError when a person must put the database right.
        """
        try:
            self._write_patiently(batch)
        except (DatabaseUnavailableError, UsageError):
            raise
        except Exception as error:  # noqa: BLE001  one strange value must not take the other frames with it
            refused = self._store_singly(batch, error)
            if len(refused) == len(batch):
                self._prove_database(refused)
            for one in refused:
                self._queue.fail(self._model, one.done.claimed, f"not stored: {one.text}")
        else:
            self._finish(batch)

    def _store_singly(self, batch: Sequence[Done], error: Exception) -> list[_Refused]:
        """Stores what SQL takes of a refused batch, and returns the others."""
        if len(batch) == 1:
            return [_Refused(batch[0], error)]
        logger.warning("a batch of %d frames was refused, storing them one by one: %s", len(batch), error)
        refused = []
        for done in batch:
            try:
                self._write_patiently([done])
            except (DatabaseUnavailableError, UsageError):
                raise
            except Exception as own_error:  # noqa: BLE001  as above
                refused.append(_Refused(done, own_error))
            else:
                self._finish([done])
        return refused

    def _prove_database(self, refused: Sequence[_Refused]) -> None:
        """Raises DatabaseUnavailableError when several frames in a row were refused for one kind of reason.

        The row goes on over batches until a frame is stored: a slow camera's frames come one by one. Frames
        that came before are not of it, as they were to blame then.
        """
        by_sql = [one for one in refused if one.may_be_sound]
        if not by_sql:
            return
        reasons = self._blamed | {one.identity: one.reason for one in by_sql}
        if len(reasons) > 1 and len(set(reasons.values())) == 1:
            self._context.stopping.wait(self._patience.most_delay_s)
            raise DatabaseUnavailableError(f"SQL refuses one frame like the other: {by_sql[0].text}")
        self._blamed = {one.identity: one.reason for one in by_sql}

    def _finish(self, batch: Sequence[Done]) -> None:
        self._blamed = {}
        self._acknowledge([done.claimed for done in batch])
        for act in self._after:
            act(batch)

    def _write_patiently(self, batch: Sequence[Done]) -> None:
        results = [done.result for done in batch]
        for last_try in self._tries(self._patience.database_s):
            try:
                with self._context.watchdog.watch(f"storing {len(batch)} frames"):
                    self._writer.write(results, self._weights)
                return
            except DatabaseUnavailableError as error:
                if last_try or self._context.stopping.is_set():
                    raise
                logger.warning("the database is away, %d frames wait in hand: %s", len(batch), error)

    def _acknowledge(self, claimed: Sequence[ClaimedFrame]) -> None:
        for last_try in self._tries(self._patience.queue_s):
            try:
                self._queue.ack(self._model, claimed)
                return
            except QueueUnavailableError as error:
                if last_try or self._context.stopping.is_set():
                    logger.warning("%d stored frames will come again: %s", len(claimed), error)
                    return

    def _tries(self, patience_s: float) -> Iterator[bool]:
        """Yields before each try whether it is the last, and waits between them."""
        delays = backoff_delays(self._patience.first_delay_s, self._patience.most_delay_s)
        until = time.monotonic() + patience_s
        while True:
            yield time.monotonic() >= until
            self._context.stopping.wait(next(delays))
