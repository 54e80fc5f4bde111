"""The whole pipeline on a real clip, and what is in the database afterwards."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import cv2

from app.annotate import LabelledBox, draw_boxes
from app.database_access import opened_database
from app.demo_clips import fetch_clips
from app.local_stack import prepare_folder
from app.options import is_given
from app.run import RunRequest, run_sources
from app.run_account import RunSummary
from app.source_list import parse_sources
from core.errors import FramewatchError, SourceError
from core.settings import Settings
from ingest.references import resolve_references
from ingest.sources import is_recorded, open_source
from storage.filters import DetectionFilter
from storage.queries import CountRow, DetectionRow, count_detections, find_detections
from storage.readonly_sql import run_readonly_sql

LEAST_SCORE = 0.5
"""Of detections that count when the picture is chosen."""
MOST_ROWS = 200_000
"""Enough to choose a picture from, also in a long video."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo shows."""

    summary: RunSummary
    sql: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """The answer to `sql`."""
    counts: tuple[CountRow, ...]
    picture: Path | None
    """Annotated; None for live cameras, whose frames nobody keeps, and where nothing was found."""
    settings: Settings
    """Those of the database that was written."""


def run_demo(source: str | None, seconds: float, settings: Settings) -> DemoResult:
    """Runs the demo's clips, or a source of the user's own, for at most `seconds` if it is live.

    Writes to `demo.db` in the data folder unless a database is given. Raises UsageError when there is nothing
    to run, and FramewatchError when nothing was stored.
    """
    folder = settings.data_dir
    prepare_folder(folder)
    if not is_given(settings, "database_url"):
        settings = settings.model_copy(update={"database_url": f"sqlite:///{folder / 'demo.db'}"})
    if source is None:
        texts = [f"{name}={path}" for name, path in fetch_clips(folder / "clips").items()]
    else:
        texts = [source]
    cameras = parse_sources(texts, fps=None)
    live = not is_recorded(cameras[0].url)
    summary = run_sources(RunRequest(cameras, live_seconds=seconds if live else None), settings)
    if not summary.total.stored:
        raise FramewatchError(
            "the demo stored no frame: " + ("; ".join(summary.errors) or "none was captured")
        )
    return _read_back(summary, {} if live else {camera.name: camera.url for camera in cameras}, settings)


def _read_back(summary: RunSummary, clips: Mapping[str, str], settings: Settings) -> DemoResult:
    cameras = tuple(account.ledger.camera for account in summary.cameras)
    sql = best_detections_sql(cameras)
    wanted = DetectionFilter(cameras=cameras)
    with opened_database(settings) as database:
        table = run_readonly_sql(database, sql)
        rows = tuple(table.rows)
        counts = tuple(count_detections(database, ("class", "camera"), None, wanted))
        frame = choose_frame(islice(find_detections(database, wanted), MOST_ROWS))
    picture = None
    if frame and frame[0].camera in clips:
        picture = settings.data_dir / "demo.jpg"
        draw_frame(frame, clips[frame[0].camera], picture)
    return DemoResult(summary, sql, table.columns, rows, counts, picture, settings)


def best_detections_sql(cameras: Sequence[str]) -> str:
    """The statement whose answer the demo shows; names of cameras hold no quotes (core.types.CAMERA_NAME)."""
    names = ", ".join(f"'{name}'" for name in cameras)
    return f"""SELECT camera, captured_at, class_name, score, x, y, width, height, frame_index
FROM detection_history
WHERE camera IN ({names})
ORDER BY score DESC, captured_at
LIMIT 12"""  # noqa: S608 - see above


def choose_frame(rows: Iterable[DetectionRow]) -> list[DetectionRow]:
    """The detections of the frame that shows most: many, sure, and of several classes."""
    best: list[DetectionRow] = []
    best_worth = 0.0
    for _, group in groupby(rows, key=lambda row: (row.camera, row.frame_index, row.captured_at, row.model)):
        frame = list(group)
        sure = [row for row in frame if row.score >= LEAST_SCORE] or frame[:1]
        worth = sum(row.score for row in sure) + len({row.class_name for row in sure})
        if worth > best_worth:
            best, best_worth = frame, worth
    return best


def draw_frame(rows: Sequence[DetectionRow], url: str, picture: Path) -> None:
    """Reads the rows' frame from its recording again and writes it with their boxes."""
    with open_source(resolve_references(url)) as source:
        frame = next((frame for frame in source if frame.captured_at == rows[0].captured_at), None)
        if frame is None:
            raise SourceError(
                f"{url}: expected a frame at {rows[0].captured_at}, got none: the file was changed"
            )
        boxes = [
            LabelledBox(row.x, row.y, row.x + row.width, row.y + row.height, row.class_name, row.score)
            for row in rows
        ]
        cv2.imwrite(str(picture), draw_boxes(frame.image, boxes))
