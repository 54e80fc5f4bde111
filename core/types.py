"""The carriers that the stages exchange: frozen, validated where they are made.

Arrays state shape, dtype, unit, colour order and origin here and nowhere else.
All boxes are in pixels of the *source* frame, origin top-left; all times are aware UTC datetimes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import inf
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.errors import SettingsError
from core.evidence_policy import EvidenceRule
from core.urls import redact_url

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""


def to_microseconds(moment: datetime) -> int:
    """Whole microseconds since 1970-01-01T00:00Z, without a detour through floating point."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """The inverse of `to_microseconds`."""
    return EPOCH + timedelta(microseconds=microseconds)


class Policy(StrEnum):
    """What the queue does with a new frame when its camera's share is full."""

    DROP_OLDEST = "drop_oldest"
    """Live cameras: the oldest waiting frame makes room."""
    LATEST = "latest"
    """Only the newest frame waits; every other waiting frame of the camera makes room."""
    WAIT = "wait"
    """Files: the publisher blocks; nothing is ever dropped."""


class Transport(StrEnum):
    """How the pictures of an RTSP camera travel."""

    TCP = "tcp"
    """Inside the RTSP connection: nothing gets lost, and it passes every firewall."""
    UDP = "udp"
    """Packets of their own: for cameras that speak nothing else."""


class DropReason(StrEnum):
    """Why a captured frame has no row; the names of the ledger's columns."""

    SAMPLED_OUT = "sampled_out"
    NO_MOTION = "no_motion"
    QUEUE_FULL = "queue_full"
    STALE = "stale"
    CORRUPT = "corrupt"
    FAILED = "failed"


def _require_aware(name: str, moment: datetime) -> None:
    if moment.tzinfo is None:
        raise ValueError(f"{name} must be an aware UTC datetime, got the naive {moment!r}")


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture inside an ingest process."""

    camera: str
    index: int
    """Counts the captured frames of the camera from 0; survives reconnects."""
    captured_at: datetime
    image: NDArray[np.uint8]
    """(H, W, 3), BGR."""
    source_size: Size
    """Width and height of the camera's picture, which `image` may be a smaller copy of."""

    def __post_init__(self) -> None:
        _require_aware("captured_at", self.captured_at)
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"image must be uint8 (H, W, 3) BGR, got {self.image.dtype} {self.image.shape}")


@dataclass(frozen=True, slots=True)
class QueuedFrame:
    """One JPEG-encoded frame as it travels through Redis."""

    camera: str
    index: int
    captured_at: datetime
    jpeg: bytes = field(repr=False)
    source_size: Size
    scale: float
    """Side of the JPEG picture over side of the source picture (at most 1)."""
    recorded: bool = False
    """True for files, which keep their own timeline: no latency can be told from it."""
    classes: tuple[str, ...] = ()
    """Class names that the camera wants stored; empty: all."""
    min_score: float | None = None
    """Least score that the camera wants stored; None: whatever the detector reports."""
    evidence: tuple[EvidenceRule, ...] = ()
    """Pictures that the camera keeps; empty: none."""

    def __post_init__(self) -> None:
        _require_aware("captured_at", self.captured_at)
        if not 0.0 < self.scale <= 1.0:
            raise ValueError(f"scale must lie in (0, 1], got {self.scale}")


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector saw in one picture: parallel arrays over N objects, best score first."""

    boxes: NDArray[np.float32]
    """(N, 4): x1, y1, x2, y2 in pixels of the source frame."""
    scores: NDArray[np.float32]
    """(N,), descending, in [0, 1]."""
    labels: NDArray[np.int64]
    """(N,): indices into `categories`."""
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.boxes.dtype != np.float32:
            raise ValueError(f"boxes must be float32 ({count}, 4), got {self.boxes.dtype} {self.boxes.shape}")
        if self.scores.shape != (count,) or self.scores.dtype != np.float32:
            raise ValueError(
                f"scores must be float32 ({count},), got {self.scores.dtype} {self.scores.shape}"
            )
        if self.labels.shape != (count,) or self.labels.dtype != np.int64:
            raise ValueError(f"labels must be int64 ({count},), got {self.labels.dtype} {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls, categories: tuple[str, ...]) -> "Detections":
        """No objects, with the right shapes."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), categories)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "Detections":
        """The objects that a mask (N,) or an index array picks, in that order."""
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], self.categories)


@dataclass(frozen=True, slots=True)
class FrameResult:
    """One frame with its detections and times, ready to be stored."""

    camera: str
    index: int
    captured_at: datetime
    source_size: Size
    detections: Detections
    model: str
    """Name of the weights that made the detections."""
    enqueued_at: datetime
    claimed_at: datetime
    inferred_at: datetime
    recorded: bool = False


def _require_polygons(where: str, polygons: Sequence[Sequence[tuple[float, float]]]) -> None:
    for polygon in polygons:
        if len(polygon) < 3:
            raise SettingsError(f"{where}: expected at least three points (x, y), got {len(polygon)}")
        outside = next((point for point in polygon if not all(0 <= number <= 1 for number in point)), None)
        if outside is not None:
            raise SettingsError(f"{where}: expected x and y from 0 to 1, got {tuple(outside)}")


def _is_text(words: str) -> bool:
    """Whether it can be written as UTF-8: bytes of file names that are none come as lone surrogates."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera as users configure it; the database keeps it."""

    name: str
    url: str
    """May hold references, `${NAME}` and `${file:/path}`, resolved inside ingest only."""
    model: str | None = None
    """Weights name; None takes the `MODEL` setting."""
    fps: float | None = None
    """Frames per second to analyse; None takes every frame."""
    max_side: int = 640
    """Longer side of the queued picture in pixels; larger frames are shrunk, never enlarged."""
    policy: Policy = Policy.DROP_OLDEST
    max_age_s: float | None = 10.0
    """Age at which a waiting frame is dropped as stale; None: never."""
    motion: bool = False
    """Skip frames in which nothing moves."""
    motion_floor_s: float = 10.0
    """With `motion`: a frame passes at least that often, so that still objects are seen as well."""
    transport: Transport = Transport.TCP
    """Of RTSP cameras."""
    keyframes_only: bool | None = None
    """Decode keyframes alone; None: when they come at least as often as `fps` asks for."""
    hwaccel: str | None = None
    """Decode on the graphics card, by FFmpeg's name of the way (vaapi, cuda); without it, on the CPU."""
    loop: bool = False
    """Play a recording again and again at its own speed, as a live camera."""
    masks: tuple[tuple[tuple[float, float], ...], ...] = ()
    """Polygons of relative (x, y) in [0, 1] that detection leaves out."""
    areas: tuple[tuple[tuple[float, float], ...], ...] = ()
    """Polygons of relative (x, y) in [0, 1] outside of which detection sees nothing; empty: everywhere."""
    classes: tuple[str, ...] = ()
    """Class names to store; empty stores all."""
    min_score: float | None = None
    """Least score of a stored detection; None: whatever the detector reports."""
    evidence: tuple[EvidenceRule, ...] = ()
    """Pictures to keep: for each class the first rule about it holds; empty keeps none."""
    enabled: bool = True

    def __post_init__(self) -> None:
        if not CAMERA_NAME.fullmatch(self.name):
            raise SettingsError(
                f"camera name: expected 1 to 63 letters, digits, '_', '-' or '.', got {self.name!r}"
            )
        if not self.url:
            raise SettingsError(f"camera {self.name}: expected a url, got none")
        if not _is_text(self.url):
            raise SettingsError(
                f"camera {self.name}: expected a url or file name in UTF-8, got {redact_url(self.url)!a}; "
                "rename the file"
            )
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise SettingsError(f"camera {self.name}: expected fps above 0 and up to 1000, got {self.fps}")
        if not 32 <= self.max_side <= 8192:
            raise SettingsError(f"camera {self.name}: expected max_side from 32 to 8192, got {self.max_side}")
        if self.max_age_s is not None and not 0 < self.max_age_s < inf:
            raise SettingsError(
                f"camera {self.name}: expected max_age_s above 0 and finite, got {self.max_age_s}"
            )
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise SettingsError(f"camera {self.name}: expected min_score from 0 to 1, got {self.min_score}")
        for field_name, polygons in (("masks", self.masks), ("areas", self.areas)):
            _require_polygons(f"camera {self.name}: {field_name}", polygons)
        if not 0 < self.motion_floor_s < inf:
            raise SettingsError(
                f"camera {self.name}: expected motion_floor_s above 0 and finite, got {self.motion_floor_s}"
            )


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of one camera's frames, exact at any quiet moment."""

    camera: str
    captured: int = 0
    stored: int = 0
    in_flight: int = 0
    """Waiting on Redis or in a worker's hands."""
    dropped: Mapping[DropReason, int] = field(default_factory=dict)

    @property
    def dropped_total(self) -> int:
        return sum(self.dropped.values())

    @property
    def balance(self) -> int:
        """Captured frames that nothing accounts for; 0 in a sound system."""
        return self.captured - self.stored - self.dropped_total - self.in_flight

    def as_json(self) -> dict[str, Any]:
        """One flat JSON object, a column per drop reason."""
        reasons = {reason.value: self.dropped.get(reason, 0) for reason in DropReason}
        return {
            "camera": self.camera,
            "captured": self.captured,
            "stored": self.stored,
            **reasons,
            "in_flight": self.in_flight,
            "balance": self.balance,
        }


@dataclass(frozen=True, slots=True)
class LedgerMinute:
    """What happened to one camera's frames within one minute of wall-clock time: absolute counts."""

    camera: str
    minute: datetime
    """Start of the minute, aware UTC."""
    captured: int = 0
    stored: int = 0
    dropped: Mapping[DropReason, int] = field(default_factory=dict)
    replayed: int = 0
    """Dead letters that were put back on their queues: each is one failed frame less in `dropped`."""


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """What the database keeps of the weights that made a detection."""

    name: str
    sha256: str
    categories: tuple[str, ...]
