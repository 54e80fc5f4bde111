"""What each camera is doing just now, kept on Redis for `status` and the dashboard."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import redis

from core.redis_client import redis_errors

SILENT_AFTER_S = 15.0
"""Ingest reports every camera about once a second."""


class CameraActivity(StrEnum):
    """What a camera's reader is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    """Connected, but nothing came for longer than it should; lost next, or live again."""
    BACKING_OFF = "backing_off"
    """Lost or unreachable; it will be opened anew."""
    REFUSED = "refused"
    """User or password refused; tried again at the longest interval."""
    ENDED = "ended"
    """A recording was read to its end."""
    FAILED = "failed"
    """It can never be read as given; somebody must change its URL or its file."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class CameraState:
    """One camera at one moment; holds no URL and no secret."""

    camera: str
    activity: CameraActivity
    since: datetime
    """When this activity began."""
    reported_at: datetime
    fps_in: float = 0.0
    """Frames captured per second lately."""
    fps_out: float = 0.0
    """Frames queued per second lately."""
    last_frame_at: datetime | None = None
    reconnects: int = 0
    corrupt: int = 0
    """Frames that could not be decoded since the reader's start."""
    error: str | None = None
    """Why the last connection was lost or failed."""
    clock_ahead_s: float | None = None
    """How far the camera's clock is ahead of this host's, by its own reports; None where it sends none."""
    drift_ppm: float | None = None
    """How fast the camera's stream time runs against this host's clock; None in its first minute."""
    ingest: str | None = None
    """The ingest process that reads the camera, where several share the cameras."""
    recorded: bool = False
    """Whether it is a recording, whose frames keep their own time."""

    def is_silent(self, now: datetime) -> bool:
        """Whether its ingest process has stopped reporting."""
        finished = self.activity in (CameraActivity.ENDED, CameraActivity.FAILED, CameraActivity.STOPPED)
        return not finished and now - self.reported_at > timedelta(seconds=SILENT_AFTER_S)

    def frame_age_s(self, now: datetime) -> float | None:
        """Seconds since the last captured frame; None without one, and for recordings' own timelines."""
        if self.last_frame_at is None or self.recorded:
            return None
        return (now - self.last_frame_at).total_seconds()


@dataclass(frozen=True, slots=True)
class CameraEvent:
    """One change of a camera's activity."""

    camera: str
    at: datetime
    activity: CameraActivity
    reason: str | None
    """Why; None where nothing went wrong."""
    ingest: str
    """Name of the ingest process that saw it."""


class CameraStates:
    """The states of all cameras of one fleet: a Redis hash with a JSON object per camera."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._key = f"{{{namespace}}}:camera-states"

    def save(self, states: Sequence[CameraState]) -> None:
        """Writes states, in one round trip. Raises QueueUnavailableError."""
        if states:
            with redis_errors():
                self._client.hset(self._key, mapping={state.camera: _to_json(state) for state in states})

    def load(self) -> list[CameraState]:
        """Every camera's last state by name. Raises QueueUnavailableError."""
        with redis_errors():
            found = self._client.hgetall(self._key)
        return sorted((_from_json(text) for text in found.values()), key=lambda state: state.camera)

    def keep_only(self, cameras: Collection[str]) -> None:
        """Drops all others: cameras removed while nobody read them. Raises QueueUnavailableError."""
        with redis_errors():
            known: list[bytes] = self._client.hkeys(self._key)  # type: ignore[assignment]
            gone = [name for name in known if name.decode() not in cameras]
            if gone:
                self._client.hdel(self._key, *gone)

    def forget(self, camera: str) -> None:
        """Drops a removed camera. Raises QueueUnavailableError."""
        with redis_errors():
            self._client.hdel(self._key, camera)


_TIMES = ("since", "reported_at", "last_frame_at")


def new_state(camera: str, activity: CameraActivity, error: str | None = None) -> CameraState:
    """A state that begins now."""
    now = datetime.now(UTC)
    return CameraState(camera, activity, since=now, reported_at=now, error=error)


def with_activity(state: CameraState, activity: CameraActivity, error: str | None = None) -> CameraState:
    """The state after a change of activity, now; its counters stay."""
    now = datetime.now(UTC)
    return replace(state, activity=activity, since=now, reported_at=now, error=error, fps_in=0.0, fps_out=0.0)


def _to_json(state: CameraState) -> str:
    fields = asdict(state)
    for name in _TIMES:
        fields[name] = fields[name] and fields[name].isoformat()
    return json.dumps(fields)


def _from_json(text: bytes | str) -> CameraState:
    fields = json.loads(text)
    for name in _TIMES:
        fields[name] = fields[name] and datetime.fromisoformat(fields[name])
    fields["activity"] = CameraActivity(fields["activity"])
    return CameraState(**fields)
