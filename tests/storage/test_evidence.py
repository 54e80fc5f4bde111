"""Which picture is kept, and that files and rows agree."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from core.errors import EvidenceUnavailableError, SettingsError
from core.evidence_policy import EvidenceKind
from storage.database import Database, open_database
from storage.evidence import Candidate, Picture, interval_start, keep_if_best, prune_evidence
from storage.evidence_files import EvidenceFiles, picture_path
from storage.writer import Writer
from tests.storage.results import START, WEIGHTS, make_result

BOX = (10.0, 20.0, 110.0, 220.0)
JPEG = b"\xff\xd8 a picture \xff\xd9"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


@pytest.fixture
def files(folder: Path) -> EvidenceFiles:
    return EvidenceFiles(str(folder))


def store(database: Database, index: int, score: float, camera: str = "gate") -> Candidate:
    """A stored detection of a person, one frame per second since START."""
    captured_at = START + timedelta(seconds=index)
    result = make_result(camera, index, [BOX], scores=[score], captured_at=captured_at)
    Writer(database).write([result], WEIGHTS)
    return Candidate(camera, captured_at, index, WEIGHTS, 0, 0, score, 60.0, EvidenceKind.CROP)


def picture() -> Picture:
    return Picture(JPEG, (100, 200))


def never() -> Picture:
    raise AssertionError("no picture was needed")


def kept(database: Database) -> dict[str, float]:
    with database.reading() as connection:
        rows = connection.execute(text("SELECT path, score FROM evidence ORDER BY captured_at"))
        return {row.path: row.score for row in rows}


def on_disk(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_the_best_of_an_interval_is_kept_with_its_file(
    database: Database, files: EvidenceFiles, folder: Path
) -> None:
    fair, better, worse = store(database, 0, 0.6), store(database, 1, 0.9), store(database, 2, 0.7)
    assert keep_if_best(database, files, fair, picture)
    assert keep_if_best(database, files, better, picture)
    assert not keep_if_best(database, files, worse, never)
    assert list(kept(database).values()) == [0.9]
    assert on_disk(folder) == set(kept(database))
    (path,) = kept(database)
    assert files.read(path) == JPEG


def test_every_interval_camera_and_class_has_its_own(database: Database, files: EvidenceFiles) -> None:
    last_second = 60 - START.second % 60
    one, next_one = store(database, last_second - 1, 0.9), store(database, last_second, 0.5)
    other = store(database, 0, 0.4, camera="yard")
    assert all(keep_if_best(database, files, candidate, picture) for candidate in (one, next_one, other))
    assert len(kept(database)) == 3


def test_a_frame_that_comes_again_changes_nothing(
    database: Database, files: EvidenceFiles, folder: Path
) -> None:
    candidate = store(database, 0, 0.6)
    keep_if_best(database, files, candidate, picture)
    before = kept(database)
    assert not keep_if_best(database, files, candidate, never)
    assert not keep_if_best(database, files, replace(candidate, every_s=7.0), never)
    assert kept(database) == before
    assert on_disk(folder) == set(before)


@pytest.mark.parametrize(
    "change",
    [{"ordinal": 1}, {"class_id": 1}, {"frame_index": 9}, {"weights": replace(WEIGHTS, sha256="b" * 64)}],
)
def test_no_picture_without_its_detection(
    database: Database, files: EvidenceFiles, folder: Path, change: dict[str, object]
) -> None:
    candidate = replace(store(database, 0, 0.6), **change)
    assert not keep_if_best(database, files, candidate, never)
    assert kept(database) == {}


def test_workers_that_meet_keep_the_best_and_no_stray_file(
    database: Database, files: EvidenceFiles, folder: Path
) -> None:
    candidates = [store(database, index, 0.3 + index / 50) for index in range(24)]
    start = threading.Barrier(4)
    faults: list[Exception] = []

    def work(share: list[Candidate]) -> None:
        own = open_database(database.url.render_as_string(hide_password=False))
        start.wait()
        try:
            for candidate in share:
                keep_if_best(own, files, candidate, picture)
        except Exception as error:  # noqa: BLE001  told by the assertion below
            faults.append(error)
        finally:
            own.close()

    shares = [candidates[0::2], candidates[1::2], candidates[::-1], candidates]
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    best = {}
    for candidate in candidates:
        best[candidate.interval_start] = round(candidate.score, 4)
    assert list(kept(database).values()) == list(best.values())
    assert on_disk(folder) == set(kept(database))


def test_a_file_that_cannot_be_written_leaves_no_row(database: Database, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(EvidenceUnavailableError, match="cannot write"):
        keep_if_best(database, EvidenceFiles(str(blocked)), store(database, 0, 0.6), picture)
    assert kept(database) == {}


def test_a_better_picture_that_cannot_be_written_keeps_the_old_one(
    database: Database, files: EvidenceFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_if_best(database, files, store(database, 0, 0.6), picture)
    before = kept(database)
    better = store(database, 1, 0.9)
    monkeypatch.setattr(EvidenceFiles, "write", _fails)
    with pytest.raises(EvidenceUnavailableError):
        keep_if_best(database, files, better, picture)
    assert kept(database) == before
    assert on_disk(folder) == set(before)


def _fails(*_: object) -> None:
    raise EvidenceUnavailableError("the disk is full")


def crash_after(action: Callable[..., object]) -> Callable[..., None]:
    def done_and_dead(*arguments: object) -> None:
        action(*arguments)
        raise KeyboardInterrupt

    return done_and_dead


def test_a_crash_between_file_and_row_is_healed_by_the_next_delivery(
    database: Database, files: EvidenceFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = store(database, 0, 0.6)
    with monkeypatch.context() as patch:
        patch.setattr(EvidenceFiles, "write", crash_after(EvidenceFiles.write))
        with pytest.raises(KeyboardInterrupt):
            keep_if_best(database, files, candidate, picture)
    assert kept(database) == {}
    assert keep_if_best(database, files, candidate, picture)
    assert on_disk(folder) == set(kept(database))


def test_pruning_removes_rows_files_and_strays_and_may_be_repeated(
    database: Database, files: EvidenceFiles, folder: Path
) -> None:
    old = store(database, 0, 0.6)
    fresh = store(database, 3 * 86_400, 0.6)
    keep_if_best(database, files, old, picture)
    keep_if_best(database, files, fresh, picture)
    stray = picture_path("gate", "person", START, (7, 1, 0))
    files.write(stray, JPEG)  # as a crash between file and row leaves it
    (folder / "notes.txt").write_text("not ours")
    before = START + timedelta(days=1)
    pruned = prune_evidence(database, files, before)
    assert (pruned.pictures, pruned.stray_files) == (1, 1)
    assert list(kept(database)) == [path for path in kept(database) if path.startswith("2026-11-26/")]
    assert on_disk(folder) == {*kept(database), "notes.txt"}
    again = prune_evidence(database, files, before)
    assert (again.pictures, again.stray_files) == (0, 0)


def test_pruning_leaves_what_framewatch_did_not_write(files: EvidenceFiles, folder: Path) -> None:
    old = picture_path("gate", "person", START, (17, 1, 0))
    files.write(old, JPEG)
    part = (folder / old).with_name(f".{Path(old).name}.0123abcd.part")
    part.write_bytes(JPEG)  # as a process leaves it that is killed while it writes
    foreign = {
        "2024-05-01/wedding.raw",
        "2024-05-01/canon/img-001.jpg",
        "2026-11-23/gate/notes.txt",
        "2024-05-02",
    }
    for name in foreign:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("not ours")
    files.write(picture_path("gate", "person", START - timedelta(days=1), (3, 1, 0)), JPEG)
    assert files.delete_days_before(START.date() + timedelta(days=1)) == 3
    assert on_disk(folder) == foreign
    assert not (folder / "2026-11-22").exists(), "a folder that is empty goes, too"


def test_pruning_where_no_picture_ever_was(database: Database, files: EvidenceFiles) -> None:
    assert prune_evidence(database, files, datetime(2026, 11, 24, tzinfo=UTC)).pictures == 0


def test_pruning_to_a_moment_within_a_day_keeps_what_is_younger(
    database: Database, files: EvidenceFiles, folder: Path
) -> None:
    candidates = [store(database, minute * 60, 0.6) for minute in range(3)]
    for candidate in candidates:
        keep_if_best(database, files, candidate, picture)
    pruned = prune_evidence(database, files, candidates[1].captured_at)
    assert pruned.pictures == 1
    assert len(kept(database)) == 2
    assert on_disk(folder) == set(kept(database))


def test_the_view_names_what_the_picture_shows(database: Database, files: EvidenceFiles) -> None:
    keep_if_best(database, files, store(database, 0, 0.6), picture)
    with database.reading() as connection:
        row = connection.execute(text("SELECT * FROM evidence_pictures")).mappings().one()
        joined = connection.execute(
            text(
                "SELECT d.x, e.path FROM detections d LEFT JOIN evidence e ON e.camera_id = d.camera_id"
                " AND e.captured_at = d.captured_at AND e.frame_index = d.frame_index"
                " AND e.model_id = d.model_id AND e.ordinal = d.ordinal"
            )
        ).one()
    assert (row["camera"], row["class_name"], row["kind"], row["width"]) == ("gate", "person", "crop", 100)
    assert tuple(joined) == (10.0, row["path"])


@pytest.mark.parametrize(
    "path", ["../etc/passwd", "/etc/passwd", "2026-11-23/../../x.jpg", "2026-11-23/.x/a.jpg", ""]
)
def test_no_other_path_is_ever_read(files: EvidenceFiles, path: str) -> None:
    with pytest.raises(EvidenceUnavailableError):
        files.read(path)


@pytest.mark.parametrize(
    ("camera", "class_name"),
    [("gate", "person"), ("a..b", "../../etc"), ("x", "größer / weiter"), ("A-1", "%")],
)
def test_paths_stay_in_their_folder_whatever_a_class_is_called(
    files: EvidenceFiles, folder: Path, camera: str, class_name: str
) -> None:
    path = picture_path(camera, class_name, START, (17, 1, 0))
    files.write(path, JPEG)
    assert (folder / path).resolve().is_relative_to(folder.resolve())
    assert files.read(path) == JPEG


def test_a_missing_file_is_no_error(files: EvidenceFiles) -> None:
    path = picture_path("gate", "person", START, (17, 1, 0))
    assert files.read(path) is None
    files.delete([path])


@pytest.mark.parametrize("url", ["nosuch://bucket", "s4://a"])
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="expected"):
        EvidenceFiles(url)


def test_intervals_are_counted_from_1970() -> None:
    moment = datetime(2026, 11, 23, 22, 53, 17, 5, tzinfo=UTC)
    assert interval_start(moment, 60) == datetime(2026, 11, 23, 22, 53, tzinfo=UTC)
    assert interval_start(moment, 86_400) == datetime(2026, 11, 23, tzinfo=UTC)
    assert interval_start(moment, 1.5) <= moment < interval_start(moment, 1.5) + timedelta(seconds=1.5)
