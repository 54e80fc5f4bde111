"""Prometheus metrics of one worker process; `framewatch worker --metrics-port` shows them.

Kept whether anybody looks or not: a few microseconds per batch. docs/monitoring.md lists them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
"""The metrics below and those of the process (CPU, memory, file descriptors), and nothing of any library."""

_STAGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

BATCH_FRAMES = Histogram(
    "framewatch_worker_batch_frames",
    "Frames per batch; the count is that of batches.",
    ["model"],
    buckets=_BATCHES,
    registry=REGISTRY,
)
FRAMES = Counter(
    "framewatch_worker_frames",
    "Frames that left a batch: stored, corrupt, or failed on the device.",
    ["model", "outcome"],
    registry=REGISTRY,
)
DETECTIONS = Counter(
    "framewatch_worker_detections", "Detections of stored frames.", ["model"], registry=REGISTRY
)
STAGE_SECONDS = Histogram(
    "framewatch_worker_stage_seconds",
    "Time that a batch took to decode, to infer (on the device) and to store.",
    ["model", "stage"],
    buckets=_STAGES,
    registry=REGISTRY,
)
INFO = Gauge(
    "framewatch_worker_info",
    "1 per model that this worker has loaded.",
    ["model", "device", "batch_size", "slots"],
    registry=REGISTRY,
)
EVIDENCE = Counter(
    "framewatch_evidence_pictures",
    "Chosen pictures: kept, outdone by a better one, missed for want of time, or failed.",
    ["outcome"],
    registry=REGISTRY,
)
ProcessCollector(registry=REGISTRY)


@contextmanager
def timed(model: str, stage: str) -> Iterator[None]:
    """Counts the body's time if it ends well."""
    started = perf_counter()
    yield
    STAGE_SECONDS.labels(model, stage).observe(perf_counter() - started)
