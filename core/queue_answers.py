"""The scripts' answers as dataclasses, and a frame's header as the stream entry carries it."""

from collections.abc import Sequence
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from core.evidence_policy import dump_rules, load_rules
from core.queue_types import ClaimedFrame, DeadLetter, QueueDepth
from core.types import DropReason, Ledger, LedgerMinute, QueuedFrame, from_microseconds, to_microseconds

Answer: TypeAlias = Sequence[Any]
"""A nested reply of Redis: bytes, integers and lists."""
_LEAST = "min_score="


def frame_header(frame: QueuedFrame) -> tuple[int, int, str]:
    """Captured (us since 1970), recorded (0 or 1), and the fields that the scripts pass on unread."""
    width, height = frame.source_size
    classes = ",".join(quote(name, safe="") for name in frame.classes)
    rest = f"{frame.index} {width} {height} {frame.scale!r} {classes}"
    if frame.min_score is not None:
        rest += f" {_LEAST}{frame.min_score!r}"
    if frame.evidence:
        rest += f" {quote(dump_rules(frame.evidence), safe='')}"
    return to_microseconds(frame.captured_at), int(frame.recorded), rest


def read_frame(camera: bytes, header: bytes, jpeg: bytes) -> tuple[QueuedFrame, int]:
    """The frame and when it was enqueued (us); the header is the one that publish.lua wrote:

    expires, enqueued, captured (us), recorded, index, width, height, scale, classes (quoted, with commas),
    and where there are some, the least score and the rules about evidence (quoted JSON).
    """
    _, enqueued, captured, recorded, index, width, height, scale, classes, *more = header.decode().split(" ")
    rules = [word for word in more if not word.startswith(_LEAST)]
    least = [word.removeprefix(_LEAST) for word in more if word.startswith(_LEAST)]
    frame = QueuedFrame(
        camera=camera.decode(),
        index=int(index),
        captured_at=from_microseconds(int(captured)),
        jpeg=jpeg,
        source_size=(int(width), int(height)),
        scale=float(scale),
        recorded=recorded == "1",
        classes=tuple(unquote(name) for name in classes.split(",")) if classes else (),
        min_score=float(least[0]) if least else None,
        evidence=load_rules(unquote(rules[0])) if rules else (),
    )
    return frame, int(enqueued)


def read_claimed(fields: Answer, consumer: str) -> ClaimedFrame:
    """One frame of claim.lua's answer."""
    camera, entry_id, delivery, claimed_us, header, jpeg = fields
    frame, enqueued_us = read_frame(camera, header, jpeg)
    return ClaimedFrame(
        frame=frame,
        entry_id=entry_id.decode(),
        enqueued_at=from_microseconds(enqueued_us),
        claimed_at=from_microseconds(int(claimed_us)),
        delivery=int(delivery),
        consumer=consumer,
    )


def read_dead_letter(fields: Answer, model: str) -> DeadLetter:
    """One entry of a dead-letter stream."""
    entry_id, camera, header, jpeg, error, deliveries, failed_us = fields
    frame, _ = read_frame(camera, header, jpeg)
    return DeadLetter(
        id=entry_id.decode(),
        model=model,
        frame=frame,
        error=error.decode(errors="replace"),
        deliveries=int(deliveries),
        failed_at=from_microseconds(int(failed_us)),
    )


def read_depth(fields: Answer, model: str) -> QueueDepth:
    """One camera of depth.lua's answer."""
    camera, frames, waiting, size, oldest_us = fields
    return QueueDepth(
        camera=camera.decode(),
        model=model,
        frames=int(frames),
        waiting=int(waiting),
        bytes=int(size),
        oldest_age_s=int(oldest_us) / 1_000_000,
    )


def read_ledger(fields: Answer) -> Ledger:
    """One camera of ledger.lua's answer: its name, frames in flight, then pairs of column and count."""
    camera, in_flight, pairs = fields
    counts = _counts(pairs)
    return Ledger(
        camera=camera.decode(),
        captured=counts.get("captured", 0),
        stored=counts.get("stored", 0),
        in_flight=int(in_flight),
        dropped=_dropped(counts),
    )


def read_minutes(answer: Answer) -> list[LedgerMinute]:
    """ledger_minutes.lua's answer: per minute its number since 1970 and pairs of camera|column and count."""
    rows = []
    for minute, pairs in answer:
        by_camera: dict[str, dict[str, int]] = {}
        for name, count in _counts(pairs).items():
            camera, column = name.split("|")
            by_camera.setdefault(camera, {})[column] = count
        for camera, counts in sorted(by_camera.items()):
            rows.append(
                LedgerMinute(
                    camera=camera,
                    minute=from_microseconds(int(minute) * 60_000_000),
                    captured=counts.get("captured", 0),
                    stored=counts.get("stored", 0),
                    dropped=_dropped(counts),
                    replayed=counts.get("replayed", 0),
                )
            )
    return rows


def _counts(pairs: Answer) -> dict[str, int]:
    return {name.decode(): int(count) for name, count in zip(pairs[::2], pairs[1::2], strict=True)}


def _dropped(counts: dict[str, int]) -> dict[DropReason, int]:
    return {reason: counts[reason.value] for reason in DropReason if counts.get(reason.value)}
