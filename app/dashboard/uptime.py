"""How long a camera was what, from its changes of state."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from core.camera_state import CameraActivity, CameraEvent

MOST_STRETCHES = 288
"""More are drawn as so many slots, of a day five minutes each: an unreachable camera changes often."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in one state; start and length are shares of the whole span."""

    activity: CameraActivity | None
    """None before the first known change."""
    start: float
    length: float


@dataclass(frozen=True, slots=True)
class Uptime:
    """A span of time of one camera."""

    stretches: tuple[Stretch, ...]
    """At most MOST_STRETCHES."""
    live_share: float | None
    """Of the time since the first known change; None without one."""


def measure_uptime(events: Sequence[CameraEvent], since: datetime, until: datetime) -> Uptime:
    """What the changes, oldest first, make of the span; one before `since` tells the state it begins in."""
    span_s = (until - since).total_seconds()
    stretches: list[Stretch] = []
    starts = [max(event.at, since) for event in events]
    if not starts or starts[0] > since:
        stretches.append(
            Stretch(None, 0.0, ((starts[0] if starts else until) - since).total_seconds() / span_s)
        )
    for event, start, end in zip(events, starts, [*starts, until][1:], strict=True):
        if end > start:
            share = (start - since).total_seconds() / span_s
            stretches.append(Stretch(event.activity, share, (end - start).total_seconds() / span_s))
    known = sum(one.length for one in stretches if one.activity is not None)
    live = sum(one.length for one in stretches if one.activity is CameraActivity.LIVE)
    return Uptime(tuple(_fewer(stretches)), live / known if known else None)


def _fewer(stretches: Sequence[Stretch]) -> Sequence[Stretch]:
    """The same if they are few, else slots in the state that took most of each, those alike as one."""
    if len(stretches) <= MOST_STRETCHES:
        return stretches
    taken: list[defaultdict[CameraActivity | None, float]] = [
        defaultdict(float) for _ in range(MOST_STRETCHES)
    ]
    for one in stretches:
        start, end = one.start * MOST_STRETCHES, (one.start + one.length) * MOST_STRETCHES
        for slot in range(int(start), min(int(end) + 1, MOST_STRETCHES)):
            taken[slot][one.activity] += min(end, slot + 1) - max(start, slot)
    states = enumerate(max(slot, key=lambda activity: slot[activity]) for slot in taken)
    alike = [(activity, [slot for slot, _ in slots]) for activity, slots in groupby(states, lambda s: s[1])]
    return [Stretch(a, slots[0] / MOST_STRETCHES, len(slots) / MOST_STRETCHES) for a, slots in alike]
