"""Kept pictures over HTTP: listed, linked from detections, served, and nothing else of the folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from core.errors import EvidenceUnavailableError
from core.evidence_policy import EvidenceKind
from storage.database import Database
from storage.evidence import Candidate, Picture, keep_if_best
from storage.evidence_files import EvidenceFiles
from tests.app.api.conftest import ELSEWHERE, HERE, MakeApp
from tests.storage.results import START, WEIGHTS

JPEG = b"\xff\xd8 a picture \xff\xd9"


@pytest.fixture
def files(tmp_path: Path) -> EvidenceFiles:
    return EvidenceFiles(str(tmp_path / "pictures"))


@pytest.fixture
def kept(history: Database, files: EvidenceFiles) -> Database:
    """Pictures of the first person and the first car at the gate, and of the bus in the yard."""
    for camera, ordinal, class_id, score in (("gate", 0, 0, 0.9), ("gate", 1, 1, 0.6), ("yard", 0, 2, 0.7)):
        candidate = Candidate(*(camera, START, 0, WEIGHTS, ordinal, class_id, score, 60.0, EvidenceKind.CROP))
        assert keep_if_best(history, files, candidate, lambda: Picture(JPEG, (40, 100)))
    return history


@pytest.fixture
def looking(make_app: MakeApp, kept: Database, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(make_app(evidence_url=str(tmp_path / "pictures")), base_url=HERE) as client:
        yield client


def test_detections_link_to_their_pictures(looking: TestClient) -> None:
    rows = looking.get("/api/detections").json()["detections"]
    linked = {(row["camera"], row["class_name"], row["score"]) for row in rows if row["picture"]}
    assert linked == {("gate", "person", 0.9), ("gate", "car", 0.6), ("yard", "bus", 0.7)}
    for row in rows:
        if row["picture"]:
            answer = looking.get(row["picture"])
            assert (answer.status_code, answer.content) == (200, JPEG)
            assert answer.headers["content-type"] == "image/jpeg"
            assert answer.headers["cache-control"] == "private, max-age=86400, immutable"


def test_pictures_are_listed_in_pages(looking: TestClient) -> None:
    found, cursor = [], None
    while True:
        asked = {"limit": 1} | ({} if cursor is None else {"cursor": cursor})
        page = looking.get("/api/evidence", params=asked).json()
        found += page["pictures"]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted((row["camera"], row["class_name"]) for row in found) == [
        ("gate", "car"),
        ("gate", "person"),
        ("yard", "bus"),
    ]
    assert found[0]["url"] == f"/api/evidence/{found[0]['path']}"
    assert (found[0]["width"], found[0]["height"], found[0]["bytes"]) == (40, 100, len(JPEG))
    assert found[0]["interval_start"] == START.strftime("%Y-%m-%dT%H:%M:00.000000Z")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"camera": "yard"}, ["bus"]),
        ({"class": "person,car"}, ["car", "person"]),
        ({"min_score": 0.65}, ["bus", "person"]),
        ({"until": START.isoformat()}, []),
        ({"since": START.isoformat(), "order": "oldest"}, ["bus", "car", "person"]),
    ],
)
def test_pictures_are_filtered(looking: TestClient, parameters: dict[str, str], expected: list[str]) -> None:
    found = looking.get("/api/evidence", params=parameters).json()["pictures"]
    assert sorted(row["class_name"] for row in found) == expected


@pytest.mark.parametrize(
    "path",
    [
        "2026-11-23/gate/nothing.jpg",
        "2026-11-23/gate/../../secret.jpg",
        "2026-11-23/../secret.jpg",
        "2026-11-23/gate/%2e%2e%2fsecret.jpg",
        "2026-11-23/%2e%2e/secret.jpg",
        "..%2f..%2f/gate/secret.jpg",
        "2026-11-23/gate/secret.txt",
        "/etc/passwd",
    ],
)
def test_nothing_but_pictures_is_served(looking: TestClient, tmp_path: Path, path: str) -> None:
    for folder in (tmp_path, tmp_path / "pictures", tmp_path / "pictures" / "2026-11-23"):
        (folder / "secret.jpg").write_text("secret")
    answer = looking.get(f"/api/evidence/{path}")
    assert answer.status_code in (404, 422), answer.text
    assert "secret" not in answer.text.replace(path, "").replace("secret.", "")


def test_a_storage_that_is_away_is_503(looking: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise EvidenceUnavailableError("evidence: cannot read x.jpg in s3://pictures: connection refused")

    monkeypatch.setattr(EvidenceFiles, "read", fail)
    answer = looking.get("/api/evidence/2026-11-23/gate/person-1.jpg")
    assert answer.status_code == 503
    assert "connection refused" in answer.json()["detail"]


def test_pictures_need_a_token_elsewhere(make_app: MakeApp, kept: Database, tmp_path: Path) -> None:
    app = make_app(open_here=False, evidence_url=str(tmp_path / "pictures"))
    with TestClient(app, base_url=ELSEWHERE) as client:
        assert client.get("/api/evidence").status_code == 401
        assert client.get("/api/evidence/2026-11-23/gate/person-1.jpg").status_code == 401
