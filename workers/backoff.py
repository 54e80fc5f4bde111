"""Waiting longer and longer between tries."""

import random
from collections.abc import Iterator


def backoff_delays(first_s: float, most_s: float) -> Iterator[float]:
    """Seconds to wait before each next try: doubling from `first_s` to `most_s`, with up to 20 % jitter."""
    delay_s = first_s
    while True:
        yield delay_s * random.uniform(0.8, 1.0)
        delay_s = min(most_s, delay_s * 2)
