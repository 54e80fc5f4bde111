"""What the HTTP application works with: the settings, the history, and a fleet that may come and go."""

import threading
from dataclasses import dataclass, field

import redis
from fastapi import Request

from app.live_hub import LiveHub
from app.queue_access import make_queue, redis_url
from core.frame_queue import FrameQueue
from core.live_view import LiveView
from core.redis_client import make_redis
from core.settings import Settings
from storage.database import Database
from storage.evidence_files import EvidenceFiles


@dataclass(frozen=True, slots=True)
class Fleet:
    """The Redis of one fleet and what is asked of it; connects on first use."""

    url: str
    redis: redis.Redis
    queue: FrameQueue
    live: LiveView


@dataclass(slots=True)
class Services:
    """One per server process; threads share it.

    History can be read without Redis, so a fleet that is away is no reason not to start: whoever asks it gets
    QueueUnavailableError. A `framewatch up` that starts later on the same data folder is found. Raises
    SettingsError for an evidence URL that cannot work.
    """

    settings: Settings
    database: Database
    live_hub: LiveHub = field(init=False, repr=False)
    """Live frames for any number of viewers."""
    evidence: EvidenceFiles = field(init=False, repr=False)
    """Kept pictures. Its methods raise EvidenceUnavailableError."""
    _fleet: Fleet | None = None
    _changing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.live_hub = LiveHub(lambda: self.live)
        self.evidence = EvidenceFiles(self.settings.evidence_location)

    @property
    def fleet(self) -> Fleet:
        """The fleet of the settings, or of the `framewatch up` that runs now."""
        url = redis_url(self.settings)
        with self._changing:
            if self._fleet is None or self._fleet.url != url:
                self._fleet = _open_fleet(self.settings, url)
            return self._fleet

    @property
    def redis(self) -> redis.Redis:
        """A client that connects when it is used."""
        return self.fleet.redis

    @property
    def queue(self) -> FrameQueue:
        """The frame queue and its accounts. Its methods raise QueueUnavailableError."""
        return self.fleet.queue

    @property
    def live(self) -> LiveView:
        """Pictures and boxes of watched cameras. Its methods raise QueueUnavailableError."""
        return self.fleet.live

    def close(self) -> None:
        """Gives back the connections to Redis; the database belongs to whoever opened it."""
        self.live_hub.close()
        if self._fleet is not None:
            self._fleet.redis.close()


def _open_fleet(settings: Settings, url: str) -> Fleet:
    client = make_redis(url)
    queue = make_queue(client, settings.model_copy(update={"redis_url": url}))
    return Fleet(url, client, queue, LiveView(client, settings.namespace))


def services_of(request: Request) -> Services:
    """What the application was made with."""
    services: Services = request.app.state.services
    return services
