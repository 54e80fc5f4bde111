"""A camera survives its form unchanged, and every field means what it says."""

import pytest
from starlette.datastructures import FormData

from app.dashboard.camera_form import form_values, polygon_texts, read_camera, with_polygons
from core.errors import SettingsError
from core.evidence_policy import EvidenceKind, EvidenceRule
from core.types import Camera, Policy, Transport

TRIANGLE = ((0.0, 0.0), (1.0, 0.0), (0.5, 0.25))
GATE = Camera("gate", "rtsp://viewer:${GATE_PASSWORD}@192.0.2.10/stream1")
FULL = Camera(
    "gate",
    "rtsp://192.0.2.10/stream1",
    model="resnet50_thin_fpn",
    fps=2.5,
    max_side=1280,
    policy=Policy.LATEST,
    max_age_s=None,
    motion=True,
    motion_floor_s=3.0,
    transport=Transport.UDP,
    keyframes_only=False,
    hwaccel="vaapi",
    masks=(TRIANGLE,),
    areas=(TRIANGLE,),
    classes=("person", "traffic light"),
    min_score=0.4,
    evidence=(EvidenceRule(("person",), 30.0, EvidenceKind.FRAME), EvidenceRule()),
    enabled=False,
)


@pytest.mark.parametrize("camera", [GATE, FULL])
def test_saving_a_form_as_it_is_changes_nothing(camera: Camera) -> None:
    assert read_camera(FormData(form_values(camera)), camera) == camera


def test_a_new_camera_needs_a_name_and_an_address_only() -> None:
    form = form_values(None) | {"name": "gate", "url": GATE.url}
    assert read_camera(FormData(form)) == GATE


def test_a_new_recording_waits_and_never_turns_stale() -> None:
    form = form_values(None) | {"name": "clip", "url": "/videos/street.mp4"}
    camera = read_camera(FormData(form))
    assert (camera.policy, camera.max_age_s) == (Policy.WAIT, None)


CLIP = Camera("gate", "/videos/street.mp4", policy=Policy.WAIT, max_age_s=None)


@pytest.mark.parametrize(
    ("stored", "changes", "expected"),
    [
        (CLIP, {"url": GATE.url}, (Policy.DROP_OLDEST, 10.0)),
        (CLIP, {"loop": "on"}, (Policy.DROP_OLDEST, 10.0)),
        (GATE, {"url": CLIP.url}, (Policy.WAIT, None)),
        (CLIP, {"url": GATE.url, "policy": "latest", "max_age_s": "3"}, (Policy.LATEST, 3.0)),
        (CLIP, {"url": "/videos/other.mp4"}, (Policy.WAIT, None)),
        (FULL, {"url": "rtsp://192.0.2.10/stream2"}, (Policy.LATEST, None)),
    ],
)
def test_a_camera_of_another_kind_takes_the_policy_of_that(
    stored: Camera, changes: dict[str, str], expected: tuple[Policy, float | None]
) -> None:
    camera = read_camera(FormData(form_values(stored) | changes), stored)
    assert (camera.policy, camera.max_age_s) == expected


def test_a_stored_camera_keeps_its_name() -> None:
    assert read_camera(FormData(form_values(GATE) | {"name": "yard"}), GATE).name == "gate"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("fps", "fast", "Frames per second to analyse: expected a number, got 'fast'"),
        ("fps", "-1", "expected fps above 0"),
        ("max_side", "9", "expected max_side from 32"),
        ("policy", "none", "policy: "),
        ("url", "", "expected a url"),
        ("evidence", "person every=soon", "--evidence: expected"),
    ],
)
def test_a_wrong_field_is_told_in_a_line(field: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_camera(FormData(form_values(GATE) | {field: value}), GATE)


def test_polygons_survive_and_empty_ones_vanish() -> None:
    texts = polygon_texts(FULL)
    assert texts == [("mask", "0,0,1,0,0.5,0.25"), ("area", "0,0,1,0,0.5,0.25")]
    changed = with_polygons(GATE, [texts[0][1], " "], [texts[1][1]])
    assert (changed.masks, changed.areas) == (FULL.masks, FULL.areas)
    assert with_polygons(FULL, [], []).masks == ()


def test_a_polygon_of_two_corners_is_refused_by_its_kind() -> None:
    with pytest.raises(SettingsError, match="area: expected x,y,x,y"):
        with_polygons(GATE, [], ["0,0,1,1"])


def test_a_password_that_somebody_stored_in_the_clear_is_not_shown_and_not_lost() -> None:
    stored = Camera("gate", "rtsp://viewer:hunter2@192.0.2.10/stream1")
    values = form_values(stored)
    assert "hunter2" not in str(values)
    assert read_camera(FormData(values), stored).url == stored.url
    with pytest.raises(SettingsError, match="by reference"):
        read_camera(FormData(values | {"url": "rtsp://viewer:***@192.0.2.11/stream1"}), stored)
