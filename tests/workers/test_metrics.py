"""What a worker counts for Prometheus: differences over one drain, as the registry is the process's."""

from collections.abc import Callable

import pytest

from core.frame_queue import FrameQueue
from models.detector import Detector
from storage.database import Database
from storage.writer import Writer
from tests.workers.rig import make_frame, publish, select, waiting_camera
from tests.workers.test_pipeline import MODEL, MakePipeline, context, drain_all, make_pipeline
from workers.metrics import REGISTRY

__all__ = ["context", "make_pipeline"]

pytestmark = pytest.mark.redis


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"framewatch_worker_{name}", {"model": MODEL, **labels}) or 0.0


def growth(*samples: tuple[str, dict[str, str]]) -> Callable[[], list[float]]:
    before = [sample(name, **labels) for name, labels in samples]
    return lambda: [sample(name, **labels) - old for (name, labels), old in zip(samples, before, strict=True)]


def test_frames_batches_and_stages_are_counted(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    grown = growth(
        ("frames_total", {"outcome": "stored"}),
        ("frames_total", {"outcome": "corrupt"}),
        ("batch_frames_sum", {}),
        ("detections_total", {}),
    )
    batches = growth(
        ("batch_frames_count", {}),
        *(("stage_seconds_count", {"stage": stage}) for stage in ("decode", "infer", "store")),
    )
    seconds = growth(*(("stage_seconds_sum", {"stage": stage}) for stage in ("decode", "infer", "store")))
    publish(queue, MODEL, 9)
    queue.publish(make_frame(9, jpeg=b"not a picture"), waiting_camera(MODEL))
    drain_all(make_pipeline(tiny_detector, Writer(database)), queue)
    ((detections,),) = select(database, "SELECT count(*) FROM detections")
    assert grown() == [9, 1, 9, detections]
    assert set(batches()) == {3}  # of at most four frames
    assert all(spent > 0 for spent in seconds())


def test_the_registry_holds_the_process_and_nothing_of_libraries() -> None:
    names = {family.name for family in REGISTRY.collect()}
    assert "process_resident_memory_bytes" in names
    assert all(name.startswith(("framewatch_", "process_")) for name in names)


def test_every_metric_is_on_the_page() -> None:
    from tests.worker_process import ROOT

    page = (ROOT / "docs" / "monitoring.md").read_text()
    for family in REGISTRY.collect():
        if family.name.startswith("framewatch_"):
            shown = f"{family.name}_total" if family.type == "counter" else family.name
            assert f"`{shown}`" in page
