"""Pictures in S3-compatible storage, spoken to a real (small) S3 server over HTTP."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.errors import EvidenceUnavailableError
from core.evidence_policy import EvidenceKind
from storage.database import Database, open_database
from storage.evidence import Candidate, Picture, keep_if_best, prune_evidence
from storage.evidence_files import EvidenceFiles, picture_path
from storage.writer import Writer
from tests.storage.results import START, WEIGHTS, make_result

JPEG = b"\xff\xd8 a picture \xff\xd9"


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """A server on loopback with an empty bucket `pictures`, and an environment that points there."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def files(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> EvidenceFiles:
    import fsspec.config
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": s3_endpoint})  # as FSSPEC_S3_ENDPOINT_URL
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = s3fs.S3FileSystem()
    if bucket.exists("pictures"):
        bucket.rm("pictures", recursive=True)
    bucket.mkdir("pictures")
    return EvidenceFiles("s3://pictures/evidence")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path / 'history.db'}")
    database.upgrade()
    yield database
    database.close()


def keep(database: Database, files: EvidenceFiles, index: int, score: float) -> str:
    captured_at = START + timedelta(seconds=index)
    result = make_result("gate", index, [(0, 0, 10, 10)], scores=[score], captured_at=captured_at)
    Writer(database).write([result], WEIGHTS)
    candidate = Candidate("gate", captured_at, index, WEIGHTS, 0, 0, score, 3600.0, EvidenceKind.CROP)
    assert keep_if_best(database, files, candidate, lambda: Picture(JPEG, (10, 10)))
    return picture_path("gate", "person", captured_at, (index, 1, 0))


def test_pictures_are_kept_replaced_and_pruned(database: Database, files: EvidenceFiles) -> None:
    first = keep(database, files, 0, 0.5)
    assert files.read(first) == JPEG
    better = keep(database, files, 1, 0.9)
    assert files.read(first) is None
    assert files.read(better) == JPEG
    next_week = keep(database, files, 7 * 86_400, 0.5)
    files.write(first, JPEG)  # a stray file
    pruned = prune_evidence(database, files, START + timedelta(days=2))
    assert (pruned.pictures, pruned.stray_files) == (1, 1)
    assert files.read(next_week) == JPEG
    assert files.read(better) is None
    assert prune_evidence(database, files, START + timedelta(days=2)).stray_files == 0


def test_a_bucket_that_is_not_there_is_one_clear_error(files: EvidenceFiles) -> None:
    missing = EvidenceFiles("s3://nowhere/evidence")
    with pytest.raises(EvidenceUnavailableError, match="cannot write"):
        missing.write(picture_path("gate", "person", START, (0, 1, 0)), JPEG)
