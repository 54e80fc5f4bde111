"""Waiting times between tries."""

import random


class Backoff:
    """Exponential waits with jitter, so that a hundred cameras do not all knock at once after a power cut."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = max(first_s, longest_s)
        self.tries = 0

    def next_s(self) -> float:
        """The next wait: from half of to the whole of first, 2 first, 4 first .. longest."""
        ceiling_s = min(self._longest_s, self._first_s * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return random.uniform(ceiling_s / 2, ceiling_s)

    def reset(self) -> None:
        """After a success, the next wait is a short one again."""
        self.tries = 0
