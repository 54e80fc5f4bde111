"""What serve does every hour: old rows and pictures go, and a fault of one round stops nothing."""

import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.upkeep import Upkeep, keep_pictures, upkeep_rounds
from core.errors import EvidenceUnavailableError, SettingsError
from core.evidence_policy import EvidenceKind
from core.settings import load_settings
from storage.database import Database
from storage.evidence import Candidate, Picture, keep_if_best
from storage.evidence_files import EvidenceFiles
from storage.filters import DetectionFilter
from storage.queries import find_detections
from storage.writer import Writer
from tests.storage.results import START, WEIGHTS, make_result
from tests.waiting import wait_until


@pytest.fixture
def files(tmp_path: Path) -> EvidenceFiles:
    return EvidenceFiles(str(tmp_path / "pictures"))


def pictures(files: EvidenceFiles, tmp_path: Path) -> int:
    return len(list((tmp_path / "pictures").rglob("*.jpg")))


def keep_picture(database: Database, files: EvidenceFiles, captured_at: datetime) -> None:
    box = (10.0, 20.0, 50.0, 120.0)
    Writer(database).write([make_result("gate", 99, [box], captured_at=captured_at)], WEIGHTS)
    candidate = Candidate("gate", captured_at, 99, WEIGHTS, 0, 0, 0.9, 60.0, EvidenceKind.CROP)
    assert keep_if_best(database, files, candidate, lambda: Picture(b"jpeg", (40, 100)))


def test_pictures_go_when_their_time_is_over(history: Database, files: EvidenceFiles, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    keep_picture(history, files, now - timedelta(days=31))
    keep_picture(history, files, now - timedelta(days=29))
    keep_pictures(history, files, timedelta(days=30))
    assert pictures(files, tmp_path) == 1


def test_the_settings_say_what_goes(history: Database, files: EvidenceFiles, tmp_path: Path) -> None:
    keep_picture(history, files, START)
    for do in upkeep_rounds(load_settings(evidence_days=0), history, files):
        do()
    assert (pictures(files, tmp_path), len(list(find_detections(history, DetectionFilter())))) == (1, 6)
    settings = load_settings(evidence_days=0.001, retention="1s")
    for do in upkeep_rounds(settings, history, files):
        do()
    assert (pictures(files, tmp_path), list(find_detections(history, DetectionFilter()))) == (0, [])


def test_a_retention_that_cannot_be_read_is_refused(history: Database, files: EvidenceFiles) -> None:
    with pytest.raises(SettingsError, match="retention: expected spans"):
        upkeep_rounds(load_settings(retention="soon"), history, files)


def test_every_round_is_done_again_whatever_another_meets(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Semaphore(0)

    def fail() -> None:
        raise EvidenceUnavailableError("evidence: cannot list s3://pictures: refused")

    def break_down() -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.WARNING):
        upkeep = Upkeep([fail, break_down, lambda: done.release()], every_s=0.01)
        upkeep.start()
        for _ in range(3):
            assert done.acquire(timeout=30)
        upkeep.close()
    wait_until(lambda: not upkeep._thread.is_alive(), 30, "the thread ends")
    assert "waits for the next hour: evidence: cannot list" in caplog.text
    assert "ZeroDivisionError" in caplog.text
