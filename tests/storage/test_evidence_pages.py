"""Kept pictures in pages, and beside the detections that they show, on both databases."""

from datetime import timedelta
from pathlib import Path

import pytest

from core.errors import CameraNotFoundError, QueryError
from core.evidence_policy import EvidenceKind
from storage.database import Database
from storage.evidence import Candidate, Picture, keep_if_best
from storage.evidence_files import EvidenceFiles
from storage.evidence_pages import PictureRow, find_picture_page
from storage.filters import DetectionFilter
from storage.paging import find_detection_page
from storage.writer import Writer
from tests.storage.results import START, WEIGHTS, make_result

BOX = (10.0, 20.0, 110.0, 220.0)


@pytest.fixture
def pictures(database: Database, tmp_path: Path) -> Database:
    """A person at the gate and one in the yard each second of five, all but the first two with a picture."""
    files = EvidenceFiles(str(tmp_path / "pictures"))
    for index in range(5):
        captured_at = START + timedelta(seconds=index)
        for camera in ("yard", "gate"):
            result = make_result(camera, index, [BOX], scores=[0.5 + index / 10], captured_at=captured_at)
            Writer(database).write([result], WEIGHTS)
            if index:
                candidate = Candidate(
                    *(camera, captured_at, index, WEIGHTS, 0, 0, 0.5 + index / 10, 1.0, EvidenceKind.CROP)
                )
                assert keep_if_best(database, files, candidate, lambda: Picture(b"jpeg", (100, 200)))
    return database


def pages(database: Database, size: int, **wanted: object) -> list[PictureRow]:
    found: list[PictureRow] = []
    page = find_picture_page(database, asked := DetectionFilter(**wanted), size)  # type: ignore[arg-type]
    found += page.rows
    while page.last is not None:
        assert len(page.rows) == size
        page = find_picture_page(database, asked, size, page.last)
        found += page.rows
    return found


@pytest.mark.parametrize("size", [1, 3, 8, 100])
@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_hold_every_picture_once(pictures: Database, size: int, newest_first: bool) -> None:
    found = pages(pictures, size, newest_first=newest_first)
    assert len({row.path for row in found}) == len(found) == 8
    times = [row.captured_at for row in found]
    assert times == sorted(times, reverse=newest_first)


def test_filters_choose_pictures(pictures: Database) -> None:
    assert {row.camera for row in pages(pictures, 2, cameras=("yard",))} == {"yard"}
    assert [row.score for row in pages(pictures, 2, cameras=("yard",), min_score=0.75)] == [0.9, 0.8]
    assert len(pages(pictures, 2, classes=("person",), since=START + timedelta(seconds=4))) == 2
    assert pages(pictures, 2, until=START) == []
    assert pages(pictures, 2, classes=("bus",)) == []


def test_unknown_names_are_told(pictures: Database) -> None:
    with pytest.raises(CameraNotFoundError, match=r"gate, yard"):
        find_picture_page(pictures, DetectionFilter(cameras=("moon",)), 1)
    with pytest.raises(QueryError, match=r"class 'cat'"):
        find_picture_page(pictures, DetectionFilter(classes=("cat",)), 1)


def test_detections_come_with_their_pictures(pictures: Database) -> None:
    by_path = {row.path: row for row in pages(pictures, 100)}
    page = find_detection_page(pictures, DetectionFilter(), 100)
    assert len(page.rows) == len(page.pictures) == 10
    for row, path in zip(page.rows, page.pictures, strict=True):
        if path is None:
            assert row.frame_index == 0
        else:
            picture = by_path.pop(path)
            assert (picture.camera, picture.captured_at, picture.score) == (
                *(row.camera, row.captured_at, row.score),
            )
    assert by_path == {}
