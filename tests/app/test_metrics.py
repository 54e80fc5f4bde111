"""Prometheus metrics of cameras, frames and the queue."""

import re
import socket
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.metrics import CameraCollector, DepthCollector, LedgerCollector, make_registry, serving_metrics
from core.camera_state import CameraActivity, CameraState, new_state
from core.errors import QueueUnavailableError, UsageError
from core.queue_types import QueueDepth
from core.types import DropReason, Ledger

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
LEDGER = Ledger("gate", 100, 60, 10, {DropReason.SAMPLED_OUT: 25, DropReason.STALE: 5})
DEPTH = QueueDepth("gate", "tiny", frames=10, waiting=8, bytes=1000, oldest_age_s=1.5)


def live() -> CameraState:
    """A camera that sent a frame four seconds ago."""
    return replace(
        new_state("gate", CameraActivity.LIVE),
        since=datetime.now(UTC) - timedelta(minutes=1),
        last_frame_at=datetime.now(UTC) - timedelta(seconds=4),
        fps_in=25.0,
        fps_out=5.0,
        reconnects=2,
        corrupt=7,
        clock_ahead_s=-1.5,
        drift_ppm=20.0,
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Samples by name and label values."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }


def all_collectors() -> tuple[CameraCollector, LedgerCollector, DepthCollector]:
    return (
        CameraCollector(lambda: [live()]),
        LedgerCollector(lambda: [LEDGER]),
        DepthCollector(lambda: [DEPTH]),
    )


def test_what_is_known_is_told_at_the_moment_of_the_scrape() -> None:
    port = free_port()
    with serving_metrics(make_registry(*all_collectors()), port, "127.0.0.1"):
        found = scrape(port)
    states = {key[2]: value for key, value in found.items() if key[0] == "framewatch_camera_state"}
    assert states == {activity.value: float(activity == "live") for activity in CameraActivity}
    assert 3 <= found["framewatch_camera_last_frame_age_seconds", "gate"] < 60
    assert found["framewatch_camera_fps_in", "gate"] == 25
    assert found["framewatch_camera_fps_out", "gate"] == 5
    assert found["framewatch_camera_reconnects_total", "gate"] == 2
    assert found["framewatch_camera_decode_errors_total", "gate"] == 7
    assert found["framewatch_camera_clock_ahead_seconds", "gate"] == -1.5
    assert found["framewatch_camera_clock_drift_ppm", "gate"] == 20
    assert found["framewatch_queue_waiting_frames", "gate", "tiny"] == 8
    assert found["framewatch_queue_bytes", "gate", "tiny"] == 1000
    assert found["framewatch_queue_oldest_seconds", "gate", "tiny"] == 1.5
    dropped = {key[2]: value for key, value in found.items() if key[0] == "framewatch_frames_dropped_total"}
    assert set(dropped) == {reason.value for reason in DropReason}
    assert found["framewatch_frames_captured_total", "gate"] == 100
    assert (
        sum(dropped.values())
        + sum(found[f"framewatch_frames_{name}", "gate"] for name in ("stored_total", "in_flight"))
        == 100
    )


def test_while_redis_is_away_its_metrics_are_absent_and_the_others_there() -> None:
    def away() -> list[Ledger]:
        raise QueueUnavailableError("Redis is away")

    port = free_port()
    with serving_metrics(
        make_registry(CameraCollector(lambda: [live()]), LedgerCollector(away)), port, "127.0.0.1"
    ):
        found = scrape(port)
    assert ("framewatch_camera_fps_in", "gate") in found
    assert ("framewatch_frames_captured_total", "gate") not in found


def test_a_camera_without_a_frame_has_neither_age_nor_clock() -> None:
    state: CameraState = new_state("gate", CameraActivity.CONNECTING)
    metrics = [
        metric
        for metric in CameraCollector(lambda: [state]).collect()
        if metric.name.endswith(("age_seconds", "ahead_seconds", "drift_ppm"))
    ]
    assert [metric.samples for metric in metrics] == [[], [], []]


def test_a_taken_port_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"--metrics-port: expected a free port of 127.0.0.1, got {port}"),
            serving_metrics(make_registry(), port, "127.0.0.1"),
        ):
            pass


def test_the_page_names_every_metric() -> None:
    named = set(re.findall(r"`(framewatch_\w+)`", PAGE))
    families = [metric for one in all_collectors() for metric in one.collect()]
    assert {sample.name for family in families for sample in family.samples} <= named
