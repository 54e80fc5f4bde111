from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import ModelNotFoundError, SettingsError, UsageError, WeightsError
from core.frame_queue import FrameQueue
from core.settings import load_settings
from core.types import DropReason
from models.detector import Detector
from storage.database import Database
from tests.waiting import wait_until
from tests.workers.rig import make_frame, publish, select, stored_indices
from workers.decoding import decode_frame
from workers.identity import WorkerIdentity
from workers.service import WorkerService

pytestmark = pytest.mark.redis

MakeService = Callable[..., WorkerService]


@pytest.fixture
def make_service(redis_url: str, database_url: str, tiny_weights: Path) -> Iterator[MakeService]:
    """Services in this process, with one slot; settings may be given."""
    made: list[WorkerService] = []

    def make(**given: Any) -> WorkerService:
        defaults = {"redis_url": redis_url, "database_url": database_url, "model": str(tiny_weights)}
        settings = load_settings(**(defaults | {"device": "cpu", "drain_slice_s": 0.2} | given))
        identity = WorkerIdentity.of_this_process(1, [settings.model_name])
        made.append(WorkerService.from_settings(settings, identity))
        return made[-1]

    yield make
    for service in made:
        service.close()


def test_a_worker_makes_the_schema_drains_and_signs_off(
    make_service: MakeService, queue: FrameQueue, database: Database, tiny_weights: Path
) -> None:
    service = make_service()
    assert queue.workers() == []
    service.open()
    (beat,) = wait_until(queue.workers, 10.0, "the heartbeat")
    assert beat.models == (str(tiny_weights),)
    publish(queue, tiny_weights, 3)
    service.answer(str(tiny_weights))
    assert stored_indices(database) == [0, 1, 2]
    ((name, categories),) = select(database, "SELECT name, categories FROM models")
    assert name == "tiny"
    assert "person" in categories
    service.close()
    assert queue.workers() == []


def test_an_onnx_file_serves_as_a_detector(
    make_service: MakeService, queue: FrameQueue, database: Database, tiny_onnx: Path, tiny_detector: Detector
) -> None:
    """It stores what the weights that it comes from find."""
    service = make_service(model=str(tiny_onnx))
    service.open()
    publish(queue, tiny_onnx, 5)
    service.answer(str(tiny_onnx))
    assert stored_indices(database) == [0, 1, 2, 3, 4]
    expected = [len(one) for one in tiny_detector.predict([decode_frame(make_frame(n)) for n in range(5)])]
    counted = select(database, "SELECT detection_count FROM frames ORDER BY frame_index")
    assert [count for (count,) in counted] == expected
    assert sum(expected) > 0


def test_a_bell_that_comes_too_late_is_harmless(
    make_service: MakeService, queue: FrameQueue, tiny_weights: Path
) -> None:
    service = make_service()
    service.open()
    for _ in range(3):
        service.answer(str(tiny_weights))
    assert queue.ledgers() == []


def test_frames_of_a_model_that_cannot_be_loaded_become_dead_letters_with_the_reason(
    make_service: MakeService, queue: FrameQueue, tiny_weights: Path
) -> None:
    service = make_service()
    service.open()
    publish(queue, "resnet51", 2)

    def all_dead() -> bool:
        service.answer("resnet51")
        return len(queue.dead_letters("resnet51")) == 2

    wait_until(all_dead, 10.0, "the frames are dead letters")
    assert "got 'resnet51'" in queue.dead_letters("resnet51")[0].error
    ledger = queue.ledger("gate")
    assert (ledger.dropped[DropReason.FAILED], ledger.in_flight, ledger.balance) == (2, 0, 0)


def test_the_ledger_reaches_sql_by_the_end(
    make_service: MakeService, queue: FrameQueue, database: Database, tiny_weights: Path
) -> None:
    service = make_service()
    service.open()
    publish(queue, tiny_weights, 4)
    service.answer(str(tiny_weights))
    service.close()
    assert select(database, "SELECT sum(captured), sum(stored) FROM frame_ledger") == [(4, 4)]


def test_a_short_run_leaves_no_changes_of_counts(
    make_service: MakeService, queue: FrameQueue, database: Database, tiny_weights: Path
) -> None:
    service = make_service()
    service.open()
    publish(queue, tiny_weights, 4)
    service.answer(str(tiny_weights))
    service.close()
    ((counted, seen),) = select(
        database,
        "SELECT (SELECT sum(detections) FROM detection_counts_hourly), (SELECT count(*) FROM detections)",
    )
    assert counted == seen > 0
    assert select(database, "SELECT count(*) FROM detection_count_changes") == [(0,)]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"model": "resnet51"}, ModelNotFoundError),
        ({"model": "/nowhere/weights.safetensors"}, WeightsError),
        ({"device": "cuda:99"}, SettingsError),
        ({"database_url": "nosql://somewhere"}, SettingsError),
        ({"redis_url": "amqp://somewhere"}, SettingsError),
    ],
    ids=["model", "weights", "device", "database", "redis"],
)
def test_what_a_person_must_put_right_is_one_line(
    make_service: MakeService, settings: dict[str, str], error: type[UsageError]
) -> None:
    with pytest.raises(error) as raised:
        make_service(**settings)
    assert "\n" not in str(raised.value)


def test_a_damaged_weights_file_is_one_line(
    make_service: MakeService, tiny_weights: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(tiny_weights.read_bytes()[:1000])
    with pytest.raises(WeightsError) as raised:
        make_service(model=str(damaged))
    assert "\n" not in str(raised.value)
