from pathlib import Path
from typing import Any

import pytest

from app.cameras_file import (
    apply_plan,
    changed_values,
    describe_changes,
    make_camera,
    plan_changes,
    read_cameras,
)
from core.errors import SettingsError, SourceError
from core.types import Camera, Policy
from storage.cameras import list_cameras
from storage.database import Database

GATE = Camera("gate", "rtsp://192.0.2.10/1", fps=5.0)
YARD = Camera("yard", "http://192.0.2.11/v.mjpg")


def write(folder: Path, text: str) -> Path:
    file = folder / "cameras.yml"
    file.write_text(text)
    return file


def test_a_file_lists_cameras_with_the_fields_of_a_camera(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        cameras:
          - name: gate
            url: rtsp://viewer:${GATE_PASSWORD}@192.0.2.10/stream1
            fps: 5
            policy: latest
            max_age_s: 2.5
            masks: [[[0, 0], [1, 0], [1, 0.2]]]
            classes: [person, car]
          - {name: clip, url: street.mp4, enabled: false}
        """,
    )
    gate, clip = read_cameras(file)
    assert gate == Camera(
        "gate",
        "rtsp://viewer:${GATE_PASSWORD}@192.0.2.10/stream1",
        fps=5.0,
        policy=Policy.LATEST,
        max_age_s=2.5,
        masks=(((0.0, 0.0), (1.0, 0.0), (1.0, 0.2)),),
        classes=("person", "car"),
    )
    assert (clip.policy, clip.max_age_s, clip.enabled) == (Policy.WAIT, None, False)
    assert clip.url == str(tmp_path / "street.mp4")


def test_a_recording_in_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(SourceError, match="expected the name of a person of this machine"):
        make_camera({"name": "clip", "url": "~nosuchuser/a.mp4"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cameras: [", "expected YAML"),
        ("- name: gate", "expected `cameras:` with a list"),
        ("cameras: {}", "expected `cameras:` with a list"),
        ("cameras: [gate]", "camera 1: expected name, url"),
        ("cameras: [{name: gate}]", "camera gate: expected url, got none"),
        ("cameras: [{url: 'usb://0'}]", "camera 1: expected name, got none"),
        (
            "cameras: [{name: g, url: 'usb://0', frames: 5}]",
            "camera g: unknown field 'frames'; known are name",
        ),
        ("cameras: [{name: g, url: 'usb://0', fps: fast}]", "camera g: fps: .*number.*got 'fast'"),
        ("cameras: [{name: g, url: 'usb://0', fps: -1}]", "camera g: expected fps above 0"),
        ("cameras: [{name: g h, url: 'usb://0'}]", "camera name: expected 1 to 63 letters"),
        ("cameras: [{name: g, url: a.mp4}, {name: g, url: b.mp4}]", "each camera once, got two of g"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        read_cameras(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "cameras.yml" in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_cameras(tmp_path / "nope.yml")


def test_a_misspelt_scheme_is_refused() -> None:
    with pytest.raises(SourceError, match="rtsp://"):
        make_camera({"name": "gate", "url": "rtps://192.0.2.10"})


def test_an_address_that_is_all_reference_counts_as_live() -> None:
    assert make_camera({"name": "gate", "url": "${GATE_URL}"}).policy is Policy.DROP_OLDEST


def test_a_plan_adds_updates_and_removes_only_on_request() -> None:
    faster = Camera("gate", GATE.url, fps=10.0)
    plan = plan_changes([GATE, YARD], [faster, Camera("door", "usb://0")], prune=False)
    assert [camera.name for camera in plan.add] == ["door"]
    assert plan.update == ((GATE, faster),)
    assert plan.remove == ()
    assert plan.unlisted == (YARD,)
    assert plan_changes([GATE, YARD], [GATE], prune=True).remove == (YARD,)
    assert plan_changes([GATE], [GATE], prune=True).changes == 0


def test_a_plan_is_told_in_one_line_per_camera_without_passwords() -> None:
    secret = Camera("gate", "rtsp://u:hunter2@192.0.2.10/1")
    plan = plan_changes([GATE, YARD], [secret, Camera("door", "usb://0")], prune=True)
    lines = describe_changes(plan)
    assert lines[0] == "+ door  usb://0"
    assert lines[1].startswith(
        "~ gate  url: rtsp://192.0.2.10/1 -> rtsp://u:***@192.0.2.10/1, fps: 5.0 -> none"
    )
    assert lines[2] == "- yard  http://192.0.2.11/v.mjpg"


def test_a_plan_that_was_applied_leaves_nothing_to_do(history: Database) -> None:
    wanted = [GATE, Camera("door", "usb://0")]
    apply_plan(history, plan_changes([], [GATE, YARD], prune=False))
    apply_plan(history, plan_changes(list_cameras(history), wanted, prune=True))
    assert sorted(camera.name for camera in list_cameras(history)) == ["door", "gate"]
    assert plan_changes(list_cameras(history), wanted, prune=True).changes == 0


@pytest.mark.parametrize(
    ("before", "fields", "policy"),
    [
        ({"url": "/clips/a.mp4"}, {"url": "rtsp://10.0.0.7/1"}, ("drop_oldest", 10.0)),
        ({"url": "/clips/a.mp4"}, {"loop": True}, ("drop_oldest", 10.0)),
        ({"url": "rtsp://10.0.0.7/1"}, {"url": "/clips/a.mp4"}, ("wait", None)),
        ({"url": "rtsp://10.0.0.7/1"}, {"url": "/clips/a.mp4", "policy": "latest"}, ("latest", None)),
        ({"url": "rtsp://10.0.0.7/1", "policy": "latest"}, {"url": "rtsp://10.0.0.8/1"}, ("latest", 10.0)),
        ({"url": "/clips/a.mp4", "policy": "latest"}, {"fps": 2}, ("latest", None)),
    ],
)
def test_a_camera_of_another_kind_takes_the_policy_of_its_kind(
    before: dict[str, Any], fields: dict[str, Any], policy: tuple[str, float | None]
) -> None:
    changed = make_camera(changed_values(make_camera({"name": "gate"} | before), fields))
    assert (changed.policy.value, changed.max_age_s) == policy
