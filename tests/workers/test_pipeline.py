from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy.exc import DataError

from core.errors import DeviceLostError
from core.frame_queue import FrameQueue
from core.types import Detections, DropReason, FrameResult, WeightsInfo
from models.detector import Detector
from storage.database import Database, open_database
from storage.writer import Writer, WriteSummary
from tests.waiting import wait_until
from tests.workers.rig import (
    START,
    make_frame,
    publish,
    select,
    stored_indices,
    waiting_camera,
)
from tests.workers.test_inference import FaultyDetector
from workers.context import WorkerContext
from workers.decoding import JpegDecoder, decode_frame
from workers.inference import Inference
from workers.pipeline import Pipeline, Stages, select_wanted, to_source_pixels
from workers.storing import Patience, ResultWriter, Store
from workers.watchdog import Watchdog

pytestmark = pytest.mark.redis

MODEL = "tiny"
IMPATIENT = Patience(database_s=0.2, queue_s=0.2, first_delay_s=0.02, most_delay_s=0.05)

MakePipeline = Callable[..., Pipeline]


@pytest.fixture
def context(queue: FrameQueue) -> Iterator[WorkerContext]:
    watchdog = Watchdog(60.0)
    yield WorkerContext(queue, watchdog)
    watchdog.close()


@pytest.fixture
def make_pipeline(context: WorkerContext) -> Iterator[MakePipeline]:
    """Builds pipelines with batches of four and short slices."""
    decoder = JpegDecoder(2)

    def make(detector: Detector, writer: ResultWriter, warm: bool = False) -> Pipeline:
        weights = WeightsInfo(detector.name, detector.sha256, detector.categories)
        store = Store(MODEL, context, writer, weights, IMPATIENT)
        inference = Inference(detector, context.watchdog, 4)
        if warm:
            inference.warm_up()
        stages = Stages(decoder, inference, store)
        return Pipeline(MODEL, context, stages, slice_s=0.1)

    yield make
    decoder.close()


def drain_all(pipeline: Pipeline, queue: FrameQueue) -> None:
    """Answers bells until no frame is left."""

    def nothing_left() -> bool:
        pipeline.drain("slot-1")
        return sum(depth.frames for depth in queue.depth(MODEL)) == 0

    wait_until(nothing_left, 20.0, "the queue is empty")


def test_a_frame_becomes_rows_with_its_boxes_in_pixels_of_the_source(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    publish(queue, MODEL, 5)
    drain_all(make_pipeline(tiny_detector, Writer(database)), queue)
    assert stored_indices(database) == [0, 1, 2, 3, 4]
    expected = []
    for index in range(5):
        seen = tiny_detector.predict([decode_frame(make_frame(index))])[0]
        for (x1, y1, x2, y2), label in zip(seen.boxes * 2.0, seen.labels, strict=True):
            expected.append((index, seen.categories[label], *np.clip([x1, y1, x2, y2], 0, [320, 240] * 2)))
    rows = select(
        database,
        "SELECT frame_index, class_name, x, y, x + width, y + height FROM detection_history"
        " ORDER BY frame_index, score DESC",
    )
    assert len(rows) == len(expected) > 5
    assert sorted(row[:2] for row in rows) == sorted(row[:2] for row in expected)
    np.testing.assert_allclose(
        sorted([float(value) for value in row[2:]] for row in rows),
        sorted([float(value) for value in row[2:]] for row in expected),
        atol=0.01,
    )


def test_frames_keep_their_identity_and_size(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    publish(queue, MODEL, 3, camera="yard")
    drain_all(make_pipeline(tiny_detector, Writer(database)), queue)
    results = select(database, "SELECT width, height, frame_index FROM frames ORDER BY captured_at")
    assert results == [(320, 240, 0), (320, 240, 1), (320, 240, 2)]
    ledger = queue.ledger("yard")
    assert (ledger.captured, ledger.stored, ledger.in_flight, ledger.balance) == (3, 3, 0, 0)


def test_several_cameras_share_a_batch(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    for camera in ("gate", "yard", "hall", "roof"):
        publish(queue, MODEL, 1, camera=camera)
    detector = FaultyDetector(tiny_detector, lambda images: None)
    drain_all(make_pipeline(detector, Writer(database)), queue)
    assert detector.batches == [4]
    assert select(database, "SELECT count(*) FROM frames") == [(4,)]


def test_a_frame_that_comes_twice_is_stored_once(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    pipeline = make_pipeline(tiny_detector, Writer(database))
    publish(queue, MODEL, 2)
    drain_all(pipeline, queue)
    before = select(database, "SELECT count(*) FROM detections")
    publish(queue, MODEL, 2)
    drain_all(pipeline, queue)
    assert stored_indices(database) == [0, 1]
    assert select(database, "SELECT count(*) FROM detections") == before


def test_a_corrupt_jpeg_is_a_counted_drop_and_nothing_else_stops(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    publish(queue, MODEL, 2)
    queue.publish(make_frame(2, jpeg=b"no picture at all"), waiting_camera(MODEL))
    publish(queue, MODEL, 2, first=3)
    drain_all(make_pipeline(tiny_detector, Writer(database)), queue)
    assert stored_indices(database) == [0, 1, 3, 4]
    ledger = queue.ledger("gate")
    assert ledger.dropped[DropReason.CORRUPT] == 1
    assert (ledger.captured, ledger.in_flight, ledger.balance) == (5, 0, 0)


def test_a_poisonous_frame_goes_to_the_dead_letters_while_the_others_flow(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    poison = decode_frame(make_frame(3))

    def fault(images: Sequence[NDArray[np.uint8]]) -> None:
        if any(np.array_equal(image, poison) for image in images):
            raise RuntimeError("poison")

    pipeline = make_pipeline(FaultyDetector(tiny_detector, fault), Writer(database))
    publish(queue, MODEL, 6)
    drain_all(pipeline, queue)
    assert stored_indices(database) == [0, 1, 2, 4, 5]
    (letter,) = queue.dead_letters(MODEL)
    assert (letter.frame.index, letter.deliveries, letter.error) == (3, 3, "RuntimeError: poison")
    ledger = queue.ledger("gate")
    assert ledger.dropped[DropReason.FAILED] == 1
    assert (ledger.in_flight, ledger.balance) == (0, 0)


def test_a_lost_device_gives_its_frames_back_as_if_it_had_never_had_them(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    def fault(images: Sequence[NDArray[np.uint8]]) -> None:
        raise RuntimeError("CUDA error")

    publish(queue, MODEL, 4)
    with pytest.raises(DeviceLostError):
        make_pipeline(FaultyDetector(tiny_detector, fault), Writer(database)).drain("slot-1")
    assert [claimed.delivery for claimed in queue.claim(MODEL, "another", 8, 0.0)] == [1, 1, 1, 1]


class BreakingDevice:
    """A fault as CUDA's device-side assert: one picture sets it off, and from then on every batch fails."""

    def __init__(self, poison_index: int) -> None:
        self._poison = decode_frame(make_frame(poison_index))
        self._broken = False

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._broken |= any(np.array_equal(image, self._poison) for image in images)
        if self._broken:
            raise RuntimeError("CUDA error: device-side assert triggered")


@pytest.mark.parametrize("poison", [0, 5, 11])
def test_a_frame_that_breaks_the_device_of_every_worker_is_buried_alone(
    make_pipeline: MakePipeline,
    queue: FrameQueue,
    database: Database,
    tiny_detector: Detector,
    poison: int,
) -> None:
    publish(queue, MODEL, 12)
    lost = 0
    while queue.ledger("gate").in_flight:
        detector = FaultyDetector(tiny_detector, BreakingDevice(poison))
        worker = make_pipeline(detector, Writer(database), warm=True)
        try:
            drain_all(worker, queue)
        except DeviceLostError:
            lost += 1
            assert lost <= 3
    assert [(one.frame.index, one.deliveries) for one in queue.dead_letters(MODEL)] == [(poison, 3)]
    assert stored_indices(database) == [index for index in range(12) if index != poison]
    assert (lost, queue.ledger("gate").balance) == (3, 0)


def test_frames_go_back_to_the_queue_while_the_database_is_away(
    make_pipeline: MakePipeline, queue: FrameQueue, tiny_detector: Detector
) -> None:
    nobody_there = open_database("postgresql://framewatch@127.0.0.1:1/history")
    publish(queue, MODEL, 3)
    make_pipeline(tiny_detector, Writer(nobody_there)).drain("slot-1")
    nobody_there.close()
    ledger = queue.ledger("gate")
    assert (ledger.stored, ledger.in_flight, ledger.dropped_total) == (0, 3, 0)
    assert [claimed.delivery for claimed in queue.claim(MODEL, "another", 8, 0.0)] == [1, 1, 1]


def test_a_result_that_sql_refuses_fails_alone(
    make_pipeline: MakePipeline,
    context: WorkerContext,
    queue: FrameQueue,
    database: Database,
    tiny_detector: Detector,
) -> None:
    class NanDetector(FaultyDetector):
        """A network that overflowed on one picture."""

        def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
            found = super().predict(images)
            return [self._overflow(one) if index == 1 else one for index, one in enumerate(found)]

        def _overflow(self, seen: Detections) -> Detections:
            assert len(seen)
            return replace(seen, scores=np.full_like(seen.scores, np.nan))

    publish(queue, MODEL, 4)
    pipeline = make_pipeline(NanDetector(tiny_detector, lambda images: None), Writer(database))
    claimed = queue.claim(MODEL, "slot-1", 4, 0.0)
    with context.device.turn(1.0) as turn:
        assert turn is not None
        pipeline.process(claimed, turn)
    assert stored_indices(database) == [0, 2, 3]
    (again,) = queue.claim(MODEL, "slot-1", 4, 0.0)
    assert (again.frame.index, again.delivery) == (1, 2)


def refuse_frames(database: Database, condition: str = "1") -> None:
    """Has the database refuse the frames of which `condition` is true."""
    with database.writing() as connection:
        connection.exec_driver_sql(
            f"CREATE TRIGGER no_frames BEFORE INSERT ON frames WHEN {condition}"
            " BEGIN SELECT RAISE(ABORT, 'no frame is welcome'); END"
        )


def take_frames(database: Database) -> None:
    with database.writing() as connection:
        connection.exec_driver_sql("DROP TRIGGER no_frames")


@pytest.mark.parametrize("at_once", [3, 1])
def test_a_database_that_refuses_every_frame_buries_none_of_a_stream(
    make_pipeline: MakePipeline,
    queue: FrameQueue,
    database: Database,
    tiny_detector: Detector,
    at_once: int,
) -> None:
    pipeline = make_pipeline(tiny_detector, Writer(database))
    publish(queue, MODEL, 1)
    drain_all(pipeline, queue)
    refuse_frames(database)
    for first in range(1, 7, at_once):
        publish(queue, MODEL, at_once, first=first)
        for _ in range(4):
            pipeline.drain("slot-1")
    buried = len(queue.dead_ids(MODEL))
    assert buried == (1 if at_once == 1 else 0), "a first frame on its own is to blame as far as is known"
    ledger = queue.ledger("gate")
    assert (ledger.stored, ledger.in_flight, ledger.balance) == (1, 6 - buried, 0)
    take_frames(database)
    drain_all(pipeline, queue)
    assert stored_indices(database) == [0, *range(1 + buried, 7)]


def test_a_frame_that_sql_refuses_on_its_own_is_buried(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    refuse_frames(database, "NEW.frame_index IN (2, 3, 6)")
    publish(queue, MODEL, 8)
    drain_all(make_pipeline(tiny_detector, Writer(database)), queue)
    assert stored_indices(database) == [0, 1, 4, 5, 7]
    letters = queue.dead_letters(MODEL)
    assert [(one.frame.index, one.deliveries) for one in letters] == [(2, 3), (3, 3), (6, 3)]
    assert queue.ledger("gate").balance == 0


def test_values_that_sql_cannot_hold_are_the_frames_own_fault(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    class NarrowWriter(Writer):
        def write(self, results: Sequence[FrameResult], weights: WeightsInfo) -> WriteSummary:
            raise DataError("INSERT", {}, ValueError("number out of range"))

    publish(queue, MODEL, 2)
    drain_all(make_pipeline(tiny_detector, NarrowWriter(database)), queue)
    assert [one.frame.index for one in queue.dead_letters(MODEL)] == [0, 1]


def test_rows_are_committed_before_a_frame_counts_as_stored(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    seen: list[tuple[int, int]] = []

    class WatchingWriter(Writer):
        def write(self, results: Sequence[FrameResult], weights: WeightsInfo) -> None:  # type: ignore[override]
            seen.append((len(stored_indices(database)), queue.ledger("gate").stored))
            super().write(results, weights)
            seen.append((len(stored_indices(database)), queue.ledger("gate").stored))

    publish(queue, MODEL, 2)
    drain_all(make_pipeline(tiny_detector, WatchingWriter(database)), queue)
    assert seen == [(0, 0), (2, 0)]
    assert queue.ledger("gate").stored == 2


def test_a_stopping_worker_claims_no_more(
    make_pipeline: MakePipeline,
    context: WorkerContext,
    queue: FrameQueue,
    database: Database,
    tiny_detector: Detector,
) -> None:
    pipeline = make_pipeline(tiny_detector, Writer(database))
    context.stopping.set()
    publish(queue, MODEL, 2)
    pipeline.drain("slot-1")
    assert queue.ledger("gate").stored == 0
    assert len(queue.claim(MODEL, "another", 8, 0.0)) == 2


def test_boxes_are_clipped_to_the_source_and_those_outside_of_it_are_gone() -> None:
    boxes = np.array([[-5, -5, 20, 30], [150, 100, 170, 130], [161, 0, 170, 10]], np.float32)
    seen = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64), ("person",))
    mapped = to_source_pixels(seen, make_frame(0))
    np.testing.assert_array_equal(mapped.boxes, [[0, 0, 40, 60], [300, 200, 320, 240]])
    np.testing.assert_array_equal(mapped.scores, seen.scores[:2])
    assert len(to_source_pixels(Detections.empty(("person",)), make_frame(0))) == 0


def test_only_the_classes_that_a_camera_wants_are_kept() -> None:
    boxes = np.array([[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7]], np.float32)
    seen = Detections(
        boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([1, 0, 2]), ("person", "car", "bus")
    )
    wanted = replace(make_frame(0), classes=("bus", "car", "zebra"))
    assert select_wanted(seen, wanted).labels.tolist() == [1, 2]
    assert select_wanted(seen, make_frame(0)) is seen


def test_only_scores_from_the_least_one_that_a_camera_wants_are_kept() -> None:
    boxes = np.array([[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7]], np.float32)
    seen = Detections(
        boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([1, 0, 1]), ("person", "car", "bus")
    )
    assert select_wanted(seen, replace(make_frame(0), min_score=0.9)).labels.tolist() == [1]
    assert select_wanted(seen, replace(make_frame(0), min_score=0.75)).labels.tolist() == [1, 0]
    assert len(select_wanted(seen, replace(make_frame(0), min_score=0.75, classes=("person",)))) == 1
    assert len(select_wanted(seen, replace(make_frame(0), min_score=0.95))) == 0


def test_a_live_frame_keeps_the_order_of_its_times(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    captured_at = queue.server_time() - timedelta(milliseconds=50)
    queue.publish(replace(make_frame(0), captured_at=captured_at, recorded=False), waiting_camera(MODEL))
    drain_all(make_pipeline(tiny_detector, Writer(database)), queue)
    ((captured, enqueued, inferred, stored),) = select(
        database, "SELECT captured_at, enqueued_at, inferred_at, stored_at FROM frames"
    )
    assert captured < enqueued < inferred <= stored
    assert captured > START.isoformat(sep=" ")


def test_an_unexpected_fault_counts_as_a_failed_delivery_so_that_no_frame_comes_for_ever(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    class ShortDetector(FaultyDetector):
        """Breaks its contract: one answer too few."""

        def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
            return super().predict(images)[1:]

    publish(queue, MODEL, 2)
    pipeline = make_pipeline(ShortDetector(tiny_detector, lambda images: None), Writer(database))
    drain_all(pipeline, queue)
    assert {letter.frame.index for letter in queue.dead_letters(MODEL)} == {0, 1}
    assert queue.ledger("gate").balance == 0


def test_a_frame_that_comes_again_is_worked_on_alone(
    make_pipeline: MakePipeline, queue: FrameQueue, database: Database, tiny_detector: Detector
) -> None:
    publish(queue, MODEL, 4)
    for one in queue.claim(MODEL, "slot-1", 2, 0.0):
        queue.fail(MODEL, one, "the first try failed")
    detector = FaultyDetector(tiny_detector, lambda images: None)
    drain_all(make_pipeline(detector, Writer(database)), queue)
    assert detector.batches == [1, 1, 2]
    assert stored_indices(database) == [0, 1, 2, 3]
