"""Pictures of evidence beside the storing of rows, which they never hold up."""

import logging
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evidence_policy import EvidenceKind, EvidenceRule
from core.frame_queue import FrameQueue
from core.queue_types import ClaimedFrame
from core.types import Detections, FrameResult, WeightsInfo
from storage.database import Database
from storage.evidence_files import EvidenceFiles
from storage.writer import Writer
from tests.waiting import wait_until
from tests.worker_process import WorkerProcess, worker_environment
from tests.workers.rig import SOURCE_SIZE, make_frame, picture, select, stored_indices, waiting_camera
from workers.evidence import EvidenceKeeper, Outcome, choose, crop, make_picture
from workers.storing import Done

CATEGORIES = ("person", "car")
WEIGHTS = WeightsInfo("tiny", "a" * 64, CATEGORIES)
PERSON_CROPS = (EvidenceRule(("person",), 3600.0),)
BOX = (100.0, 60.0, 180.0, 140.0)


def make_done(
    index: int,
    score: float,
    rules: tuple[EvidenceRule, ...] = PERSON_CROPS,
    labels: tuple[int, ...] = (0,),
    jpeg: bytes | None = None,
) -> Done:
    """Frame `index` with one detection per label, all of that score."""
    frame = replace(make_frame(index, jpeg=jpeg), evidence=rules)
    now, count = frame.captured_at, len(labels)
    found = Detections(
        np.array([BOX] * count, np.float32).reshape(-1, 4),
        np.full(count, score, np.float32),
        np.array(labels, np.int64),
        CATEGORIES,
    )
    result = FrameResult("gate", index, now, SOURCE_SIZE, found, "tiny", now, now, now)
    return Done(ClaimedFrame(frame, f"{index}-0", now, now, 1, "slot"), result)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


MakeKeeper = Callable[..., EvidenceKeeper]


@pytest.fixture
def make_keeper(database: Database, folder: Path) -> Iterator[MakeKeeper]:
    made: list[EvidenceKeeper] = []

    def make(files: EvidenceFiles | None = None, **given: Any) -> EvidenceKeeper:
        made.append(EvidenceKeeper(database, files or EvidenceFiles(str(folder)), **given))
        return made[-1]

    yield make
    for keeper in made:
        keeper.close()


def store_and_offer(keeper: EvidenceKeeper, database: Database, *batch: Done) -> None:
    Writer(database).write([done.result for done in batch], WEIGHTS)
    keeper.offer(WEIGHTS, batch)


def on_disk(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def rows(database: Database) -> list[tuple[Any, ...]]:
    return select(database, "SELECT path, kind, width, height, bytes, score FROM evidence ORDER BY path")


def test_the_best_crop_of_the_interval_is_kept(
    make_keeper: MakeKeeper, database: Database, folder: Path
) -> None:
    keeper = make_keeper()
    for index, score in enumerate((0.5, 0.9, 0.7)):
        store_and_offer(keeper, database, make_done(index, score))
        wait_until(lambda: keeper._waiting.empty(), 10, "the thread took it")
    keeper.close()
    ((path, kind, width, height, size, score),) = rows(database)
    assert (kind, score) == ("crop", pytest.approx(0.9))
    assert on_disk(folder) == {path}
    shown = cv2.imread(str(folder / path))
    assert shown.shape == (height, width, 3)
    assert (width, height) == (48, 48)  # half of 80 px, as the queued picture is, and a tenth on each side
    assert (folder / path).stat().st_size == size
    whole = cv2.imdecode(np.frombuffer(picture(1), np.uint8), cv2.IMREAD_COLOR)
    expected = whole[26:74, 46:94].astype(int)
    assert np.abs(shown.astype(int) - expected).mean() < 8
    assert keeper.counts == {"kept": 2}


def test_a_whole_frame_is_the_queued_jpeg_byte_for_byte(
    make_keeper: MakeKeeper, database: Database, folder: Path
) -> None:
    keeper = make_keeper()
    done = make_done(0, 0.9, (EvidenceRule(what=EvidenceKind.FRAME),))
    store_and_offer(keeper, database, done)
    keeper.close()
    ((path, kind, width, height, _, _),) = rows(database)
    assert (kind, width, height) == ("frame", 160, 120)
    assert (folder / path).read_bytes() == done.claimed.frame.jpeg


def test_cameras_without_rules_cost_nothing(
    make_keeper: MakeKeeper, database: Database, folder: Path
) -> None:
    keeper = make_keeper()
    store_and_offer(keeper, database, make_done(0, 0.9, rules=()))
    keeper.close()
    assert rows(database) == []
    assert not folder.exists()


def test_a_redelivered_frame_brings_no_second_picture(
    make_keeper: MakeKeeper, database: Database, folder: Path
) -> None:
    for _ in range(2):  # the second worker knows nothing of the first
        keeper = make_keeper()
        store_and_offer(keeper, database, make_done(0, 0.9))
        keeper.close()
    assert len(rows(database)) == 1
    assert on_disk(folder) == {rows(database)[0][0]}
    assert keeper.counts[Outcome.OUTDONE] == 1


def test_a_frame_whose_rows_were_refused_leaves_no_picture(
    make_keeper: MakeKeeper, database: Database, folder: Path
) -> None:
    keeper = make_keeper()
    keeper.offer(WEIGHTS, [make_done(0, 0.9)])
    keeper.close()
    assert rows(database) == []
    assert on_disk(folder) == set()


def test_of_each_class_the_best_detection_is_chosen_by_its_own_rule() -> None:
    rules = (EvidenceRule(("car",), 5, min_score=0.95), EvidenceRule(("person",), 60, EvidenceKind.FRAME))
    done = make_done(0, 0.9, rules, labels=(0, 0, 1))
    (choice,) = choose(done.result, done.claimed.frame, WEIGHTS)
    assert (choice.candidate.ordinal, choice.candidate.class_id) == (0, 0)
    assert (choice.candidate.kind, choice.candidate.every_s) == (EvidenceKind.FRAME, 60)


@given(
    corners=st.tuples(*[st.floats(-20, 200, width=32)] * 4),
    margin=st.floats(0, 10),
)
def test_a_crop_lies_in_the_picture_and_holds_the_box(
    corners: tuple[float, float, float, float], margin: float
) -> None:
    x1, x2 = sorted(corners[:2])
    y1, y2 = sorted(corners[2:])
    columns, rows_ = np.meshgrid(np.arange(160), np.arange(120))
    image = np.stack([columns, rows_, columns], axis=2).astype(np.uint8)
    cut = crop(image, np.array([x1, y1, x2, y2], np.float32), margin)
    assert cut.size > 0
    if x1 < 159 and y1 < 119 and x2 > 1 and y2 > 1:  # it shows
        assert cut[0, 0, 0] <= max(x1, 0)
        assert cut[0, 0, 1] <= max(y1, 0)
        assert cut[-1, -1, 0] >= min(x2, 160) - 1
        assert cut[-1, -1, 1] >= min(y2, 120) - 1


class StuckFiles(EvidenceFiles):
    """A storage that takes for ever, as a network folder whose server is gone."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.free = threading.Event()

    def write(self, path: str, content: bytes) -> None:
        self.free.wait(60)
        super().write(path, content)


def test_a_stuck_storage_holds_nothing_up_and_keeps_to_its_bounds(
    make_keeper: MakeKeeper, database: Database, folder: Path
) -> None:
    files = StuckFiles(str(folder))
    keeper = make_keeper(files, most_waiting=4)
    rules = (EvidenceRule(every_s=1.0),)
    batch = [make_done(index * 10, 0.9, rules) for index in range(50)]
    Writer(database).write([done.result for done in batch], WEIGHTS)
    started = time.monotonic()
    for done in batch:
        keeper.offer(WEIGHTS, [done])
    assert time.monotonic() - started < 5
    assert keeper.counts[Outcome.MISSED] >= 45
    assert keeper._waiting.qsize() <= 4
    files.free.set()


def tmpfs(folder: Path) -> Callable[[], None]:
    """Makes the folder a file system of 64 KB."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    return lambda: subprocess.run(["umount", str(folder)], check=True) and None


def file_size_limit(folder: Path) -> Callable[[], None]:
    """Lets this process write no file larger than 1 MB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("fill", [tmpfs, file_size_limit])
def test_a_full_disk_is_logged_once_and_counted_while_rows_are_stored(
    make_keeper: MakeKeeper,
    database: Database,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    fill: Callable[[Path], Callable[[], None]],
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1600, 3), np.uint8)
    large = bytes(cv2.imencode(".jpg", noise, (cv2.IMWRITE_JPEG_QUALITY, 95))[1])
    assert len(large) > 1_000_000
    rules = (EvidenceRule(what=EvidenceKind.FRAME, every_s=1.0),)
    batch = [replace_size(make_done(index * 10, 0.9, rules, jpeg=large)) for index in range(3)]
    make_room = fill(folder)
    try:
        keeper = make_keeper(retry_s=0.0)
        with caplog.at_level(logging.WARNING):
            for failed, done in enumerate(batch, start=1):
                store_and_offer(keeper, database, done)
                wait_until(
                    lambda failed=failed: keeper.counts[Outcome.FAILED] == failed, 20, "the fault was counted"
                )
        assert len([line for line in caplog.messages if "no pictures are kept" in line]) == 1
        assert stored_indices(database) == [0, 10, 20]
        assert rows(database) == []
        assert on_disk(folder) == set()  # not even a part of a file
        store_and_offer(keeper, database, make_done(500, 0.8, rules))  # a small one fits
        wait_until(lambda: keeper.counts[Outcome.KEPT] == 1, 20, "a picture is kept again")
        assert "kept again" in caplog.text
    finally:
        make_room()


def replace_size(done: Done) -> Done:
    """The same with a source of 1600x1200 pixels."""
    frame = replace(done.claimed.frame, source_size=(1600, 1200), scale=1.0)
    result = replace(done.result, source_size=(1600, 1200))
    return Done(replace(done.claimed, frame=frame), result)


def test_after_a_fault_no_picture_is_tried_for_a_while(
    make_keeper: MakeKeeper, database: Database, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    keeper = make_keeper(EvidenceFiles(str(blocked)), retry_s=3600.0)
    store_and_offer(keeper, database, make_done(0, 0.5))
    wait_until(lambda: keeper.counts[Outcome.FAILED] == 1, 10, "the fault was counted")
    store_and_offer(keeper, database, make_done(1, 0.9))
    assert keeper.counts == {"failed": 1, "missed": 1}


def test_a_damaged_picture_is_no_end_of_the_thread(make_keeper: MakeKeeper, database: Database) -> None:
    keeper = make_keeper(retry_s=0.0)
    store_and_offer(keeper, database, make_done(0, 0.9, jpeg=b"not a jpeg"))
    wait_until(lambda: keeper.counts[Outcome.FAILED] == 1, 10, "the fault was counted")
    store_and_offer(keeper, database, make_done(1, 0.8))
    wait_until(lambda: keeper.counts[Outcome.KEPT] == 1, 10, "the next one is kept")


def test_a_picture_shows_the_box_of_the_source_in_the_smaller_queued_picture() -> None:
    done = make_done(0, 0.9, (EvidenceRule(margin=0.0),))
    (choice,) = choose(done.result, done.claimed.frame, WEIGHTS)
    assert make_picture(choice).size == (40, 40)


@pytest.mark.slow
@pytest.mark.redis
def test_killed_workers_leave_rows_with_files_and_all_frames(
    queue: FrameQueue,
    redis_url: str,
    database: Database,
    database_url: str,
    tiny_weights: Path,
    folder: Path,
    tmp_path: Path,
) -> None:
    """kill -9 in mid-run: another worker goes on; each frame is stored once, each row has its whole file."""
    settings = {
        "redis_url": redis_url,
        "database_url": database_url,
        "model": tiny_weights,
        "device": "cpu",
        "claim_timeout_s": 3,
        "evidence_url": folder,
    }
    environment = worker_environment(**settings)
    rules = (EvidenceRule(every_s=1.0),)
    model = str(tiny_weights)
    count = 150

    def publish_all() -> None:
        for index in range(count):
            queue.publish(replace(make_frame(index), evidence=rules), waiting_camera(model))

    publisher = threading.Thread(target=publish_all)
    with WorkerProcess(environment, tmp_path / "first.log", "--pool=solo") as first:
        first.wait_ready(queue)
        publisher.start()
        wait_until(lambda: len(rows(database)) > 2, 60, "pictures are kept")
        first.kill()
    with WorkerProcess(environment, tmp_path / "second.log", "--pool=solo") as second:
        wait_until(lambda: len(stored_indices(database)) == count, 90, "all frames are stored", 0.2)
        publisher.join()
        second.wait_ready(queue)
        assert second.terminate() == 0
    kept = rows(database)
    assert stored_indices(database) == list(range(count))
    for path, _, width, height, size, _ in kept:
        content = (folder / path).read_bytes()
        assert len(content) == size
        shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == (height, width, 3)
    slots = select(database, "SELECT camera_id, model_id, class_id, interval_start FROM evidence")
    assert len(slots) == len(set(slots))
    unlinked = (
        "SELECT count(*) FROM evidence e LEFT JOIN detections d ON d.camera_id = e.camera_id"
        " AND d.captured_at = e.captured_at AND d.frame_index = e.frame_index AND d.model_id = e.model_id"
        " AND d.ordinal = e.ordinal AND d.class_id = e.class_id WHERE d.camera_id IS NULL"
    )
    assert select(database, unlinked) == [(0,)]
