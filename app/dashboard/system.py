"""The system page: the queue, the workers, where every frame went, and the dead letters."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from app.api.services import services_of
from app.dashboard.charts import round_up
from app.dashboard.pages import PageRoute, render, see_other
from app.dashboard.wall import read_fleet
from app.run_account import sum_ledgers
from core.errors import SettingsError
from core.frame_queue import FrameQueue
from core.types import DropReason, Ledger, LedgerMinute
from storage.database import Database
from storage.ledger import list_ledger_minutes

router = APIRouter(route_class=PageRoute, include_in_schema=False)

MINUTES_SHOWN = 60
LETTERS_SHOWN = 50
_MINUTE = timedelta(minutes=1)


LEFT_OUT = (DropReason.SAMPLED_OUT, DropReason.NO_MOTION)
"""Frames that nobody wanted; all other drops are losses."""


@dataclass(frozen=True, slots=True)
class Minute:
    """What became of the frames of all cameras in one minute."""

    start: datetime
    stored: int
    left_out: int
    lost: int

    @property
    def total(self) -> int:
        return self.stored + self.left_out + self.lost


@dataclass(frozen=True, slots=True)
class Throughput:
    """Frames of all cameras in each of the last minutes, the oldest first."""

    minutes: tuple[Minute, ...]
    top: int
    """The round number at the upper end of the axis; 0 without frames."""
    stored_per_s: float
    """In the last whole minute."""


@router.get("/system")
def system(request: Request) -> Response:
    """Everything between the cameras and the database."""
    services = services_of(request)
    status = read_fleet(services)
    letters = services.queue.dead_letters(limit=LETTERS_SHOWN)
    total = sum_ledgers("all", status.ledgers)
    return render(
        request,
        "system.html",
        status=status,
        total=total,
        reasons=_reasons(status.ledgers),
        throughput=measure_throughput(services.database, services.queue, status.now),
        letters=letters[::-1],
        letters_total=sum(count for _, count in status.dead),
        waiting=sum(depth.waiting for depth in status.depths),
        queued_bytes=sum(depth.bytes for depth in status.depths),
        oldest_s=max((depth.oldest_age_s for depth in status.depths), default=None),
        live=sum(status.describe_state(name) == "live" for name in status.camera_names()),
        slots=sum(beat.slots for beat in status.workers),
    )


@router.post("/system/dead")
def settle_dead_letters(
    request: Request,
    action: Annotated[str, Form()],
    model: Annotated[str, Form()] = "",
    id: Annotated[str, Form()] = "",
) -> Response:
    """Replays or drops one dead letter, or all of them."""
    queue = services_of(request).queue
    settle = {"replay": queue.replay_dead, "drop": queue.drop_dead}.get(action)
    if settle is None:
        raise SettingsError(f"action: expected replay or drop, got {action!r}")
    if bool(model) != bool(id):
        raise SettingsError("expected the model and the id of a dead letter, or neither for all of them")
    for name in [model] if model else queue.models():
        settle(name, [id] if id else None)
    return see_other("/system#dead")


def measure_throughput(database: Database, queue: FrameQueue, now: datetime) -> Throughput:
    """The last hour, minute by minute: from the database, and from Redis what is not there yet."""
    this = now.replace(second=0, microsecond=0)
    since = this - (MINUTES_SHOWN - 1) * _MINUTE
    per_camera = {
        (minute.camera, minute.minute): minute
        for minute in (*list_ledger_minutes(database, since), *queue.ledger_minutes())
    }
    minutes = tuple(
        _sum_minute(
            since + i * _MINUTE, [one for one in per_camera.values() if one.minute == since + i * _MINUTE]
        )
        for i in range(MINUTES_SHOWN)
    )
    top = round_up(max(minute.total for minute in minutes))
    return Throughput(minutes, top, minutes[-2].stored / 60)


def _sum_minute(start: datetime, parts: Sequence[LedgerMinute]) -> Minute:
    dropped = Counter[DropReason]()
    for part in parts:
        dropped.update(part.dropped)
    left_out = sum(dropped[reason] for reason in LEFT_OUT)
    return Minute(start, sum(part.stored for part in parts), left_out, dropped.total() - left_out)


def _reasons(ledgers: Sequence[Ledger]) -> list[DropReason]:
    """The reasons for which any frame was dropped."""
    return [reason for reason in DropReason if any(ledger.dropped.get(reason) for ledger in ledgers)]
