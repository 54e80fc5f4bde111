"""Prometheus metrics, read at the moment of the scrape from what framewatch keeps anyway.

A service exposes a registry of collectors: `serve` those of the whole fleet at its own /metrics, `ingest` and
`worker` what belongs to the process, with `serving_metrics`. No metric holds a URL or a secret.

Names and labels: docs/monitoring.md.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.camera_state import CameraActivity, CameraState
from core.errors import QueueUnavailableError, UsageError
from core.queue_types import QueueDepth
from core.types import DropReason, Ledger

Item = TypeVar("Item")
Family = TypeVar("Family", GaugeMetricFamily, CounterMetricFamily)


class CameraCollector(Collector):
    """What each camera is doing. `states` may raise QueueUnavailableError."""

    def __init__(self, states: Callable[[], Sequence[CameraState]]) -> None:
        self._states = states

    def collect(self) -> Iterable[Metric]:
        """One sample per camera and metric; for the state, one per camera and state, of which one is 1."""
        activity = GaugeMetricFamily(
            "framewatch_camera_state", "1 for what the camera is doing, else 0.", labels=["camera", "state"]
        )
        age = _of_camera(
            GaugeMetricFamily, "last_frame_age_seconds", "Since the last frame of a live camera."
        )
        fps_in = _of_camera(GaugeMetricFamily, "fps_in", "Frames captured per second lately.")
        fps_out = _of_camera(GaugeMetricFamily, "fps_out", "Frames queued per second lately.")
        reconnects = _of_camera(CounterMetricFamily, "reconnects", "Connections after the first.")
        errors = _of_camera(CounterMetricFamily, "decode_errors", "Frames that could not be decoded.")
        ahead = _of_camera(
            GaugeMetricFamily, "clock_ahead_seconds", "The camera's clock before this host's, as it reports."
        )
        drift = _of_camera(
            GaugeMetricFamily,
            "clock_drift_ppm",
            "How fast the camera's time runs against this host's.",
        )
        now = datetime.now(UTC)
        for state in _or_nothing(self._states):
            camera = [state.camera]
            for one in CameraActivity:
                activity.add_metric([state.camera, one.value], float(one is state.activity))
            known = ((age, state.frame_age_s(now)), (ahead, state.clock_ahead_s), (drift, state.drift_ppm))
            for gauge, value in known:
                if value is not None:
                    gauge.add_metric(camera, value)
            fps_in.add_metric(camera, state.fps_in)
            fps_out.add_metric(camera, state.fps_out)
            reconnects.add_metric(camera, state.reconnects)
            errors.add_metric(camera, state.corrupt)
        return [activity, age, fps_in, fps_out, reconnects, errors, ahead, drift]


class LedgerCollector(Collector):
    """Where every frame of each camera went. `ledgers` may raise QueueUnavailableError."""

    def __init__(self, ledgers: Callable[[], Sequence[Ledger]]) -> None:
        self._ledgers = ledgers

    def collect(self) -> Iterable[Metric]:
        """captured = stored + dropped over all reasons + in flight, in every scrape of a sound system."""
        captured = _of_frames(CounterMetricFamily, "captured", "Frames that a camera delivered.")
        stored = _of_frames(CounterMetricFamily, "stored", "Frames whose rows are in SQL.")
        in_flight = _of_frames(GaugeMetricFamily, "in_flight", "Frames on Redis or in a worker's hands.")
        dropped = CounterMetricFamily(
            "framewatch_frames_dropped", "Frames left out, by reason.", labels=["camera", "reason"]
        )
        for ledger in _or_nothing(self._ledgers):
            captured.add_metric([ledger.camera], ledger.captured)
            stored.add_metric([ledger.camera], ledger.stored)
            in_flight.add_metric([ledger.camera], ledger.in_flight)
            for reason in DropReason:
                dropped.add_metric([ledger.camera, reason.value], ledger.dropped.get(reason, 0))
        return [captured, stored, in_flight, dropped]


class DepthCollector(Collector):
    """What waits on the queue. `depths` may raise QueueUnavailableError."""

    def __init__(self, depths: Callable[[], Sequence[QueueDepth]]) -> None:
        self._depths = depths

    def collect(self) -> Iterable[Metric]:
        """Per camera and model."""
        labels = ["camera", "model"]
        waiting = GaugeMetricFamily("framewatch_queue_waiting_frames", "Frames that wait.", labels=labels)
        size = GaugeMetricFamily("framewatch_queue_bytes", "Bytes of the frames on Redis.", labels=labels)
        oldest = GaugeMetricFamily(
            "framewatch_queue_oldest_seconds", "Age of the oldest frame on Redis.", labels=labels
        )
        for depth in _or_nothing(self._depths):
            values = [depth.camera, depth.model]
            waiting.add_metric(values, depth.waiting)
            size.add_metric(values, depth.bytes)
            oldest.add_metric(values, depth.oldest_age_s)
        return [waiting, size, oldest]


def make_registry(*collectors: Collector) -> CollectorRegistry:
    """A registry of its own: no metric of this or another library slips in."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


@contextlib.contextmanager
def serving_metrics(registry: CollectorRegistry, port: int | None, host: str) -> Iterator[None]:
    """Answers http://HOST:PORT/metrics from a thread; nothing without a port.

    Raises UsageError when it cannot listen there.
    """
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise UsageError(
            f"--metrics-port: expected a free port of {host}, got {port}: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _or_nothing(read: Callable[[], Sequence[Item]]) -> Sequence[Item]:
    """What Redis says; no samples while it is away, so that alerts on absence fire."""
    try:
        return read()
    except QueueUnavailableError:
        return []


def _of_camera(family: type[Family], name: str, meaning: str) -> Family:
    return family(f"framewatch_camera_{name}", meaning, labels=["camera"])


def _of_frames(family: type[Family], name: str, meaning: str) -> Family:
    return family(f"framewatch_frames_{name}", meaning, labels=["camera"])
