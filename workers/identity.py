"""What a worker process is to Celery and to the frame queue; light, so that the Celery app can import it."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """How one worker process is known to the frame queue."""

    worker: str
    """Unique: two processes may carry one Celery node name."""
    consumers: tuple[str, ...]
    """One name per slot, for the consumer groups."""
    models: tuple[str, ...]
    """Weights names or files that it serves."""

    @classmethod
    def of_this_process(cls, slots: int, models: Sequence[str]) -> "WorkerIdentity":
        """Host, process and a random end, so that a process that takes over a pid is another worker."""
        worker = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        return cls(worker, tuple(f"{worker}.{slot}" for slot in range(slots)), tuple(models))


class Service(Protocol):
    """What one worker process runs beside Celery: the detectors, their threads and their drains."""

    def open(self) -> None:
        """Celery takes bells from now on: report for duty."""

    def answer(self, model: str) -> None:
        """A bell rang: drain the frames of `model` for a slice of time."""

    def stop(self) -> None:
        """Finish the batch in hand and claim no more; returns at once."""

    def close(self) -> None:
        """The last drain has ended: sign off and give everything back."""
