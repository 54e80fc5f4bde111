"""Pictures and boxes of cameras that somebody is looking at, from the workers to whoever looks.

A viewer marks cameras as watched; workers publish the frames of watched cameras after storing them. Nothing
is kept but the last frame of each, for seconds, and nothing is sent while nobody watches.
"""

import json
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import redis

from core.redis_client import redis_errors
from core.types import Size

WATCHED_FOR_S = 15
"""A viewer that does not ask again for so long has gone."""
LATEST_FOR_S = 15
"""A picture older than this is not live any more."""
_RENEW_EVERY_S = 5.0
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class LiveBox:
    """One detection; x, y is the top-left corner, all in pixels of the source frame."""

    class_name: str
    score: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """One stored frame as a viewer gets it."""

    camera: str
    index: int
    captured_at: datetime
    source_size: Size
    """Width and height that the boxes refer to; the picture may be a smaller copy."""
    jpeg: bytes = field(repr=False)
    boxes: tuple[LiveBox, ...]
    model: str

    def to_bytes(self) -> bytes:
        """Length of the header (4 bytes, big-endian), the header as JSON, the picture."""
        fields: dict[str, Any] = {
            "camera": self.camera,
            "index": self.index,
            "captured_at": self.captured_at.isoformat(),
            "source_size": self.source_size,
            "boxes": [asdict(box) for box in self.boxes],
            "model": self.model,
        }
        header = json.dumps(fields).encode()
        return len(header).to_bytes(_LENGTH_BYTES, "big") + header + self.jpeg

    @classmethod
    def from_bytes(cls, message: bytes) -> "LiveFrame":
        """The inverse of `to_bytes`."""
        end = _LENGTH_BYTES + int.from_bytes(message[:_LENGTH_BYTES], "big")
        fields = json.loads(message[_LENGTH_BYTES:end])
        width, height = fields["source_size"]
        return cls(
            camera=fields["camera"],
            index=fields["index"],
            captured_at=datetime.fromisoformat(fields["captured_at"]),
            source_size=(width, height),
            jpeg=message[end:],
            boxes=tuple(LiveBox(**box) for box in fields["boxes"]),
            model=fields["model"],
        )


class LiveView:
    """The live pictures of one fleet on Redis; threads may share it."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._prefix = f"{{{namespace}}}:live"

    def watch(self, cameras: Sequence[str]) -> None:
        """Has workers publish these cameras for WATCHED_FOR_S from now. Raises QueueUnavailableError."""
        if not cameras:
            return
        with redis_errors(), self._client.pipeline(transaction=False) as pipeline:
            for camera in cameras:
                pipeline.set(self._watched_key(camera), 1, ex=WATCHED_FOR_S)
            pipeline.execute()

    def watched(self, cameras: Sequence[str]) -> Mapping[str, bool]:
        """Which of these cameras somebody watches, in one round trip. Raises QueueUnavailableError."""
        if not cameras:
            return {}
        with redis_errors():
            found = self._client.mget([self._watched_key(camera) for camera in cameras])
        return {camera: mark is not None for camera, mark in zip(cameras, found, strict=True)}

    def publish(self, frames: Sequence[LiveFrame]) -> None:
        """Hands frames to all who watch, and keeps the last of each camera. Raises QueueUnavailableError."""
        if not frames:
            return
        with redis_errors(), self._client.pipeline(transaction=False) as pipeline:
            for frame in frames:
                message = frame.to_bytes()
                pipeline.set(self._latest_key(frame.camera), message, ex=LATEST_FOR_S)
                pipeline.publish(self._channel(frame.camera), message)
            pipeline.execute()

    def latest(self, camera: str) -> LiveFrame | None:
        """The last published frame; None when there was none lately. Raises QueueUnavailableError."""
        with redis_errors():
            message: Any = self._client.get(self._latest_key(camera))
        return None if message is None else LiveFrame.from_bytes(message)

    def frames(self, cameras: Sequence[str] | None, wait_s: float) -> Generator[LiveFrame, None, None]:
        """Frames from now on, as they are published; ends when none came for `wait_s` seconds.

        Watches the cameras for as long as the caller goes on. None: every camera that others watch.
        Raises QueueUnavailableError.
        """
        pubsub: Any = self._client.pubsub  # redis-py leaves it without types
        with redis_errors(), pubsub(ignore_subscribe_messages=True) as subscription:
            if cameras is None:
                subscription.psubscribe(self._channel("*"))
            else:
                subscription.subscribe(*(self._channel(camera) for camera in cameras))
            renewed_at, until = float("-inf"), time.monotonic() + wait_s
            while (now := time.monotonic()) < until:
                if now - renewed_at >= _RENEW_EVERY_S:
                    self.watch(cameras or ())
                    renewed_at = now
                message = subscription.get_message(timeout=min(until - now, _RENEW_EVERY_S))
                if message is not None:
                    yield LiveFrame.from_bytes(message["data"])
                    until = time.monotonic() + wait_s

    def _watched_key(self, camera: str) -> str:
        return f"{self._prefix}:watched:{camera}"

    def _latest_key(self, camera: str) -> str:
        return f"{self._prefix}:latest:{camera}"

    def _channel(self, camera: str) -> str:
        return f"{self._prefix}:frames:{camera}"
