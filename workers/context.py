"""What all stages of one worker process share."""

import threading
from dataclasses import dataclass, field

from core.frame_queue import FrameQueue
from workers.device import Device
from workers.hands import Hands
from workers.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One per process."""

    queue: FrameQueue
    watchdog: Watchdog
    hands: Hands = field(default_factory=Hands)
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the process shall finish the batch in hand and claim no more."""
    device: Device = field(default_factory=Device)
    """One for all models of the process."""
