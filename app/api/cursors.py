"""Cursors: where a page ended and what was asked for, as text that clients hand back unread."""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime

from app.api.problems import ProblemError
from core.types import from_microseconds, to_microseconds
from storage.filters import DetectionFilter
from storage.paging import Position

_MOST_MICROSECONDS = 253_402_300_800_000_000  # the year 10000
_MOST_INT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """The end of a page, with the times of its first page: `since=2h` means the same hours on all pages."""

    after: Position
    since: datetime | None
    until: datetime | None
    question: str
    """What else was asked for, hashed."""

    def apply(self, wanted: DetectionFilter) -> DetectionFilter:
        """The filter of the first page. Raises ProblemError when this page asks for something else."""
        if _hash(wanted) != self.question:
            raise ProblemError(
                400, "cursor: expected the filters of the page that it came with, got others; leave it out"
            )
        return replace(wanted, since=self.since, until=self.until)


def write_cursor(wanted: DetectionFilter, after: Position) -> str:
    """The cursor of the page behind a position."""
    times = [None if moment is None else to_microseconds(moment) for moment in (wanted.since, wanted.until)]
    place = [to_microseconds(after.captured_at), after.camera_id, after.frame_index, after.model_id]
    text = json.dumps([*place, after.ordinal, *times, _hash(wanted)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str) -> Cursor:
    """The inverse of `write_cursor`. Raises ProblemError for any other text."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
        moment, camera_id, frame_index, model_id, ordinal, since, until, question = json.loads(raw)
        numbers = (camera_id, frame_index, model_id, ordinal)
        if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
            raise ValueError
        if max(camera_id, model_id, ordinal) > _MOST_INT or not isinstance(question, str):
            raise ValueError
        position = Position(_moment(moment), camera_id, frame_index, model_id, ordinal)
        times = [None if one is None else _moment(one) for one in (since, until)]
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise ProblemError(400, f"cursor: expected the `next` of a page, got {text[:100]!r}") from None
    return Cursor(position, times[0], times[1], question)


def _moment(value: object) -> datetime:
    if type(value) is not int or not -_MOST_MICROSECONDS < value < _MOST_MICROSECONDS:
        raise ValueError
    try:
        return from_microseconds(value)
    except OverflowError as error:
        raise ValueError from error


def _hash(wanted: DetectionFilter) -> str:
    question = replace(wanted, since=None, until=None, limit=None)
    return hashlib.sha256(repr(question).encode()).hexdigest()[:16]
