"""What the supervisor and its camera processes say to each other: JSON lines over the child's pipes.

Never on the command line, which everyone on the machine can read.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import TypeAdapter

from core.camera_state import CameraState
from core.frame_queue import QueueLimits
from core.settings import Settings
from core.types import Camera
from ingest.reader import CaptureReport, ReaderOptions


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What every camera process of one ingest service is told."""

    redis_url: str
    namespace: str
    limits: QueueLimits
    reader: ReaderOptions
    log_level: str = "INFO"

    @classmethod
    def from_settings(cls, settings: Settings, model: str, *, must_answer: bool = False) -> "IngestOptions":
        """The options of a service; `model` serves cameras that name none."""
        reader = ReaderOptions(
            model=model,
            jpeg_quality=settings.jpeg_quality,
            open_timeout_s=settings.open_timeout_s,
            stall_timeout_s=settings.stall_timeout_s,
            reconnect_min_s=settings.reconnect_min_s,
            reconnect_max_s=settings.reconnect_max_s,
            refused_wait_s=settings.refused_wait_s,
            must_answer=must_answer,
        )
        limits = QueueLimits.from_settings(settings)
        return cls(settings.redis_url, settings.namespace, limits, reader, settings.log_level)


@dataclass(frozen=True, slots=True)
class Job:
    """First and only line to a camera process; the end of its stdin means: stop."""

    camera: Camera
    options: IngestOptions
    lease: str = ""
    """Token of core/camera_leases.py that goes with every frame; empty where cameras are not shared."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """An event for the supervisor's log."""

    level: int
    text: str
    kind: Literal["log"] = "log"


@dataclass(frozen=True, slots=True)
class StateReport:
    """What the camera is doing now."""

    state: CameraState
    kind: Literal["state"] = "state"


@dataclass(frozen=True, slots=True)
class Ring:
    """Please ring the bell of a model: saves each camera process 9 MB of Celery and a broker connection."""

    model: str
    kind: Literal["ring"] = "ring"


@dataclass(frozen=True, slots=True)
class Beat:
    """Still here."""

    kind: Literal["beat"] = "beat"


@dataclass(frozen=True, slots=True)
class Finished:
    """The last message before a clean exit."""

    report: CaptureReport
    kind: Literal["finished"] = "finished"


Message: TypeAlias = LogLine | StateReport | Ring | Beat | Finished

_JOB = TypeAdapter(Job)
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


def write_job(job: Job) -> bytes:
    """One line for a camera process."""
    return _JOB.dump_json(job) + b"\n"


def read_job(line: bytes) -> Job:
    """The inverse of `write_job`."""
    return _JOB.validate_json(line)


def write_message(message: Message) -> bytes:
    """One line for the supervisor."""
    return _MESSAGE.dump_json(message) + b"\n"


def read_message(line: bytes) -> Message:
    """The inverse of `write_message`. Raises ValueError for anything else."""
    return _MESSAGE.validate_json(line)
