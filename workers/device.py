"""One batch on the device at a time, and one drain that prepares the next."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turn:
    """The right to claim and prepare the next batch; it passes on when that batch is on the device."""

    def __init__(self, preparing: threading.Lock, device: threading.Lock) -> None:
        self._preparing = preparing
        self._device = device
        self._holds = True
        self.alone = False
        """No other drain shall have frames in hand until this turn ends."""

    def wait_for_device(self, timeout_s: float) -> None:
        """Returns when the device is free, or after `timeout_s`."""
        if self._device.acquire(timeout=timeout_s):
            self._device.release()

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """The body has the device to itself, while another drain prepares (unless this one stays alone)."""
        with self._device:
            if not self.alone:
                self.pass_on()
            yield

    def pass_on(self) -> None:
        """Lets another drain prepare; harmless a second time."""
        if self._holds:
            self._holds = False
            self._preparing.release()


class Device:
    """Shared by the drains of a process.

    A drain claims its frames within its turn, so at most one batch waits prepared while another runs. Drains
    that claimed side by side would split the waiting frames into small batches: measured at 200 frames/s with
    15 ms per batch + 2 ms per frame, that took the p99 from publish to acknowledgement from 56 to 91 ms.
    """

    def __init__(self) -> None:
        self._preparing = threading.Lock()
        self._device = threading.Lock()

    @contextmanager
    def turn(self, timeout_s: float) -> Iterator[Turn | None]:
        """This drain's turn; None if others have kept it for `timeout_s`."""
        if not self._preparing.acquire(timeout=timeout_s):
            yield None
            return
        turn = Turn(self._preparing, self._device)
        try:
            yield turn
        finally:
            turn.pass_on()
