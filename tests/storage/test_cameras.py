import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from core.errors import CameraNotFoundError, SettingsError
from core.evidence_policy import EvidenceKind, EvidenceRule
from core.types import Camera, Policy
from storage.cameras import (
    add_camera,
    change_camera,
    ensure_camera,
    get_camera,
    list_cameras,
    remove_camera,
)
from storage.database import Database
from storage.queries import DetectionFilter, find_detections
from storage.writer import Writer
from tests.storage.results import WEIGHTS, make_result

GATE = Camera("gate", "rtsp://viewer:${GATE_PASSWORD}@10.0.0.7/stream1", fps=5.0)

fractions = st.floats(0, 1)
rules = st.builds(
    EvidenceRule,
    classes=st.lists(st.sampled_from(["person", "car"]), unique=True).map(tuple),
    every_s=st.floats(1, 86_400),
    what=st.sampled_from(EvidenceKind),
    margin=st.floats(0, 10),
    min_score=fractions,
)
cameras = st.builds(
    Camera,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", fullmatch=True),
    url=st.sampled_from(["rtsp://10.0.0.7/a?b=c", "usb://0", "/clips/street one.mp4", "http://cam/ä%20b"]),
    model=st.none() | st.just("resnet50_thin_fpn"),
    fps=st.none() | st.floats(0.1, 1000),
    max_side=st.integers(32, 8192),
    policy=st.sampled_from(Policy),
    max_age_s=st.none() | st.floats(0.1, 1e6),
    motion=st.booleans(),
    masks=st.lists(
        st.lists(st.tuples(fractions, fractions), min_size=3, max_size=5).map(tuple), max_size=2
    ).map(tuple),
    classes=st.lists(st.sampled_from(["person", "car"]), unique=True).map(tuple),
    evidence=st.lists(rules, max_size=2).map(tuple),
    enabled=st.booleans(),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(camera=cameras)
def test_a_camera_comes_back_as_it_was_stored(database: Database, camera: Camera) -> None:
    add_camera(database, camera)
    assert get_camera(database, camera.name) == camera
    remove_camera(database, camera.name)


def test_cameras_are_listed_by_name(database: Database) -> None:
    yard = Camera("yard", "usb://0", enabled=False)
    for camera in (yard, GATE):
        add_camera(database, camera)
    assert list_cameras(database) == [GATE, yard]
    assert list_cameras(database, enabled_only=True) == [GATE]


def test_a_name_is_given_once(database: Database) -> None:
    add_camera(database, GATE)
    with pytest.raises(SettingsError, match="camera gate: expected a new name"):
        add_camera(database, replace(GATE, fps=1.0))
    assert get_camera(database, "gate") == GATE


def test_an_update_replaces_the_settings(database: Database) -> None:
    add_camera(database, GATE)
    change_camera(database, GATE.name, lambda camera: replace(camera, fps=None, classes=("person",)))
    assert get_camera(database, "gate") == replace(GATE, fps=None, classes=("person",))


def test_of_two_changes_at_once_none_is_lost(database: Database) -> None:
    add_camera(database, GATE)

    def slowly(camera: Camera) -> Camera:
        begun.set()
        time.sleep(0.3)  # the other change comes now
        return replace(camera, fps=1.0)

    begun = threading.Event()
    first = threading.Thread(target=change_camera, args=(database, "gate", slowly))
    first.start()
    assert begun.wait(10)
    change_camera(database, "gate", lambda camera: replace(camera, enabled=False))
    first.join()
    assert get_camera(database, "gate") == replace(GATE, fps=1.0, enabled=False)


def test_a_change_keeps_passwords_out(database: Database) -> None:
    add_camera(database, GATE)
    with pytest.raises(SettingsError, match="by reference"):
        change_camera(database, "gate", lambda camera: replace(camera, url="rtsp://a:hunter2@10.0.0.7/1"))
    assert get_camera(database, "gate") == GATE


def test_ensure_leaves_a_configured_camera_alone(database: Database) -> None:
    first = add_camera(database, GATE)
    assert ensure_camera(database, Camera("gate", "usb://1")) == first
    assert get_camera(database, "gate") == GATE


@pytest.mark.parametrize(
    "ask", [get_camera, remove_camera, lambda d, n: change_camera(d, n, lambda camera: camera)]
)
def test_an_unknown_camera_is_named_with_the_known_ones(
    database: Database, ask: Callable[[Database, str], object]
) -> None:
    with pytest.raises(CameraNotFoundError, match="none is configured yet"):
        ask(database, "gat")
    add_camera(database, GATE)
    with pytest.raises(CameraNotFoundError, match="'gat': expected one of gate"):
        ask(database, "gat")


@pytest.mark.parametrize("store", [add_camera, ensure_camera])
def test_a_password_in_the_url_is_never_stored(
    database: Database, store: Callable[[Database, Camera], object]
) -> None:
    camera = Camera("gate", "rtsp://viewer:hunter2@10.0.0.7/stream1")
    with pytest.raises(SettingsError, match=r"rtsp://user:\$\{CAM_PASSWORD\}@host") as raised:
        store(database, camera)
    assert "hunter2" not in str(raised.value)
    with database.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM cameras")) == 0


def test_a_removed_camera_keeps_its_history_and_its_name(database: Database) -> None:
    first = add_camera(database, GATE)
    Writer(database).write([make_result("gate", boxes=[(0, 0, 1, 1)])], WEIGHTS)
    remove_camera(database, "gate")
    assert list_cameras(database) == []
    with pytest.raises(CameraNotFoundError):
        get_camera(database, "gate")
    assert [row.camera for row in find_detections(database, DetectionFilter(cameras=("gate",)))] == ["gate"]
    assert add_camera(database, GATE) == first


def test_a_removed_camera_without_history_leaves_no_trace(database: Database) -> None:
    add_camera(database, GATE)
    remove_camera(database, "gate")
    with database.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM cameras")) == 0


def test_a_camera_that_only_a_worker_named_is_not_configured(database: Database) -> None:
    Writer(database).write([make_result("clip")], WEIGHTS)
    assert list_cameras(database) == []
    add_camera(database, Camera("clip", "/clips/street.mp4"))
    assert [camera.name for camera in list_cameras(database)] == ["clip"]


def test_settings_of_a_newer_version_are_passed_over(database: Database) -> None:
    add_camera(database, GATE)
    document = '{"fps": 5.0, "zoom": 3}'
    with database.writing() as connection:
        kind = "jsonb" if database.dialect == "postgresql" else "text"
        connection.execute(
            text(f"UPDATE cameras SET settings = CAST(:document AS {kind})"), {"document": document}
        )
    assert get_camera(database, "gate") == GATE
