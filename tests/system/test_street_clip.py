"""A street camera's clip through the shipped detector: every frame a row, people found, databases alike."""

import json
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.system.street import STREET_FRAMES, framewatch, select
from tests.worker_process import worker_environment

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.postgres]

CANVAS = "384x288"
"""Sees most people here, at a quarter of the default's time: CPUs without bf16 need minutes for that."""
ROWS = """
    SELECT frame_index, class_name, score, x, y, width, height, area, frame_width, frame_height
    FROM detection_history ORDER BY frame_index, x, y, width, height, class_name
"""


def run_street(clip: Path, folder: Path, database_url: str) -> dict[str, Any]:
    """`framewatch run` of the clip with a worker of its own."""
    environment = worker_environment(database_url=database_url, data_dir=folder, canvas=CANVAS)
    del environment["OMP_NUM_THREADS"]
    summary: dict[str, Any] = json.loads(framewatch(environment, folder, "run", f"street={clip}", "--json"))
    return summary


@pytest.fixture(scope="module")
def sqlite_history(street_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("street")
    url = f"sqlite:///{folder / 'street.db'}"
    return url, run_street(street_clip, folder, url)


def test_every_frame_is_stored_and_none_is_dropped(sqlite_history: tuple[str, dict[str, Any]]) -> None:
    url, summary = sqlite_history
    ledger = summary["cameras"][0]
    assert summary["balanced"]
    assert (ledger["captured"], ledger["stored"], ledger["in_flight"]) == (STREET_FRAMES, STREET_FRAMES, 0)
    drops = ("sampled_out", "no_motion", "queue_full", "stale", "corrupt", "failed")
    assert [ledger[reason] for reason in drops] == [0] * len(drops)
    assert select(url, "SELECT count(*) FROM frames") == [(STREET_FRAMES,)]


def test_frames_keep_the_clips_timeline(sqlite_history: tuple[str, dict[str, Any]]) -> None:
    rows = select(sqlite_history[0], "SELECT captured_at FROM frames ORDER BY frame_index")
    times = [datetime.fromisoformat(captured_at) for (captured_at,) in rows]
    steps = {after - before for before, after in pairwise(times)}
    assert steps == {timedelta(milliseconds=100)}


def test_boxes_lie_inside_the_frame_and_know_their_area(sqlite_history: tuple[str, dict[str, Any]]) -> None:
    rows = select(sqlite_history[0], ROWS)
    assert rows
    for _, _, score, x, y, width, height, area, frame_width, frame_height in rows:
        assert (frame_width, frame_height) == (768, 576)
        assert 0 < score <= 1
        assert x >= 0
        assert y >= 0
        assert x + width <= frame_width + 0.01
        assert y + height <= frame_height + 0.01
        assert abs(area - width * height) < 0.01


def test_walking_people_are_found(sqlite_history: tuple[str, dict[str, Any]]) -> None:
    """Five to ten people walk through nearly every frame."""
    rows = select(
        sqlite_history[0],
        "SELECT frame_index, count(*) FROM detection_history WHERE class_name = 'person' GROUP BY 1",
    )
    assert len(rows) >= 0.95 * STREET_FRAMES
    assert sum(count for _, count in rows) / STREET_FRAMES >= 3.0


def test_postgresql_holds_the_same_detections(
    sqlite_history: tuple[str, dict[str, Any]], street_clip: Path, postgres_url: str, tmp_path: Path
) -> None:
    summary = run_street(street_clip, tmp_path, postgres_url)
    assert summary["balanced"]
    assert select(postgres_url, "SELECT count(*) FROM frames") == [(STREET_FRAMES,)]
    assert select(postgres_url, ROWS) == select(sqlite_history[0], ROWS)
