import json
import re
from pathlib import Path

import cv2
import pytest

from storage.cameras import get_camera, list_cameras
from storage.database import open_database
from tests.app.conftest import Cli
from tests.clips import numbered_picture, write_clip
from tests.mjpeg_server import MjpegServer
from tests.onvif_device import OnvifDevice
from tests.rtsp_server import RtspServer, encode_clip


def stored(name: str) -> object:
    database = open_database("sqlite:///framewatch.db")
    try:
        return get_camera(database, name)
    finally:
        database.close()


def names() -> list[str]:
    database = open_database("sqlite:///framewatch.db")
    try:
        return [camera.name for camera in list_cameras(database)]
    finally:
        database.close()


def test_a_camera_is_added_listed_changed_and_removed(cli: Cli) -> None:
    url = "rtsp://viewer:${GATE_PASSWORD}@192.0.2.10/1"
    options = ("--fps", "5", "--class", "person,car", "--mask", "0,0,1,0,1,0.2", "--max-age", "4")
    assert cli("camera", "add", "gate", url, *options).code == 0
    assert cli("camera", "add", "clip", "street.mp4", "--disabled").code == 0
    gate, clip = sorted(
        json.loads(cli("camera", "list", "--json").out), key=lambda one: one["name"], reverse=True
    )
    assert (gate["url"], gate["fps"], gate["max_age_s"], gate["classes"]) == (
        url,
        5.0,
        4.0,
        ["person", "car"],
    )
    assert gate["masks"] == [[[0, 0], [1, 0], [1, 0.2]]]
    assert (clip["policy"], clip["max_age_s"], clip["enabled"]) == ("wait", None, False)
    assert "gate" in cli("camera", "list").out
    assert cli("camera", "update", "gate", "--max-side", "960", "--unset", "fps").code == 0
    changed = stored("gate")
    assert (changed.fps, changed.max_side, changed.max_age_s, changed.url) == (None, 960, 4.0, url)
    assert cli("camera", "remove", "gate").code == 0
    assert names() == ["clip"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "gate", "rtps://192.0.2.10/1"], "expected a file or one of file://, http://"),
        (["add", "gate", "rtsp://u:hunter2@192.0.2.10/1"], "password by reference"),
        (["add", "the gate", "usb://0"], "camera name: expected"),
        (["add", "taken", "usb://0"], "taken"),
        (["add", "gate", "usb://0", "--mask", "0,0,1"], "--mask: expected x,y"),
        (["add", "gate", "usb://0", "--mask", "0,0,1,0,7,7"], "--mask: expected x,y"),
        (["add", "gate", "usb://0", "--fps", "-3"], "fps above 0"),
        (["add", "gate", "usb://0", "--max-age", "nan"], "max_age_s above 0 and finite, got nan"),
        (["add", "gate", "usb://0", "--max-age", "inf"], "max_age_s above 0 and finite, got inf"),
        (["add", "gate", "usb://0", "--motion-floor", "nan"], "motion_floor_s above 0 and finite, got nan"),
        (["update", "taken"], "expected something to change"),
        (["update", "taken", "--unset", "name"], "--unset: expected one of"),
        (["update", "nope", "--fps", "1"], "camera 'nope': expected one of taken"),
        (["remove", "nope"], "camera 'nope': expected one of taken"),
        (["check", "nope"], "camera 'nope': expected one of taken"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(cli: Cli, arguments: list[str], message: str) -> None:
    assert cli("camera", "add", "taken", "usb://9").code == 0
    done = cli("camera", *arguments)
    assert done.code == 2
    assert message in done.error
    assert "hunter2" not in done.err
    assert names() == ["taken"]


def test_a_check_tells_codec_size_and_rate_of_a_file(cli: Cli, folder: Path) -> None:
    write_clip(folder / "street.mp4", frames=60)
    done = cli("camera", "check", "street.mp4", "--picture", "first.png")
    assert done.code == 0
    assert re.sub(r"after 0\.\d\d s", "after .. s", done.out) == (
        "source:            street.mp4 (recorded)\n"
        "codec:             h264\n"
        "size:              320x240\n"
        "frames per second: 25 as it says\n"
        "keyframe interval: unknown\n"
        "first frame:       after .. s\n"
        "picture:           first.png\n"
    )
    assert cv2.imread("first.png").shape == (240, 320, 3)


def test_a_check_of_a_camera_tells_all_about_its_stream_and_saves_a_picture(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = encode_clip(write_clip(folder / "clip.mp4", frames=90, fps=20), keyframe_every=30)
    monkeypatch.setenv("GATE_PASSWORD", "hunter2")
    with RtspServer(clip, users={"viewer": "hunter2"}) as server:
        assert cli("camera", "add", "gate", server.url("viewer", "${GATE_PASSWORD}")).code == 0
        told = cli("camera", "check", "gate")
        done = cli("camera", "check", "gate", "--json", "--no-picture")
        brief = cli("camera", "check", server.url("viewer", "hunter2"), "--json", "--seconds", "0.1")
    assert (told.code, done.code, brief.code) == (0, 0, 0), told.err + done.err + brief.err
    assert re.search(r"keyframe interval: 1\.[3-7]\d s\n", told.out), told.out
    assert "picture:           check-gate.jpg\n" in told.out
    assert cv2.imread("check-gate.jpg").shape == (240, 320, 3)
    found = json.loads(done.out)
    assert (found["kind"], found["codec"], found["size"], found["fps"]) == ("live", "h264", [320, 240], 20.0)
    assert found["keyframe_interval_s"] == pytest.approx(1.5, abs=0.2)
    assert found["received_fps"] == pytest.approx(20, abs=3)
    assert 0 < found["first_frame_s"] < 20
    assert found["picture"] is None
    found = json.loads(brief.out)
    assert found["keyframe_interval_s"] is None, "not for as long as a keyframe takes"
    assert found["picture"] == f"check-127.0.0.1-{server.port}-stream.jpg"
    assert "hunter2" not in told.out + done.out + brief.out + told.err + done.err + brief.err


def test_a_check_watches_a_live_camera_by_its_name(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [cv2.imencode(".jpg", numbered_picture(number))[1].tobytes() for number in range(4)]
    with MjpegServer(pictures) as server:
        monkeypatch.setenv("CAMERA_URL", server.url())
        assert cli("camera", "add", "yard", "${CAMERA_URL}").code == 0
        done = cli("camera", "check", "yard", "--seconds", "0.5")
    assert done.code == 0, done.err
    assert "source:            ${CAMERA_URL} (live)\ncodec:             mjpeg" in done.out
    assert "keyframe interval: every picture\n" in done.out
    assert re.search(r"frames per second: \d+\.\d received\n", done.out)


def test_a_check_that_cannot_save_its_picture_says_so(cli: Cli, folder: Path) -> None:
    write_clip(folder / "street.mp4", frames=5)
    done = cli("camera", "check", "street.mp4", "--picture", "nowhere/first.png")
    assert done.code == 2
    assert "--picture: expected a .jpg or .png file that can be written" in done.error


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rtsp://u:hunter2@127.0.0.1:1/x", "cannot connect"),
        ("http://127.0.0.1:1/v.mjpg", "cannot connect"),
        ("nothing.mp4", "no such file"),
        ("rtsp://${NO_SUCH_VARIABLE}@127.0.0.1/x", "NO_SUCH_VARIABLE"),
        ("usb://987", "video987"),
    ],
)
def test_a_camera_that_does_not_answer_is_one_line_and_exit_code_2(cli: Cli, url: str, message: str) -> None:
    done = cli("camera", "check", url)
    assert done.code == 2
    assert message in done.error
    assert "hunter2" not in done.err


def test_a_file_is_applied_after_its_plan_was_shown(cli: Cli, folder: Path) -> None:
    assert cli("camera", "add", "old", "usb://1").code == 0
    (folder / "cameras.yml").write_text("cameras:\n  - {name: gate, url: 'usb://0', fps: 5}\n")
    asked = cli("camera", "apply", "cameras.yml")
    assert asked.code == 2
    assert asked.out == "+ gate  usb://0\n"
    assert "expected --yes where nobody can answer" in asked.err
    assert names() == ["old"]
    done = cli("camera", "apply", "cameras.yml", "--yes")
    assert (done.code, done.out) == (0, "+ gate  usb://0\n")
    assert names() == ["gate", "old"]
    assert cli("camera", "apply", "cameras.yml", "--prune", "--yes").out == "- old  usb://1\n= gate\n"
    assert names() == ["gate"]
    assert "nothing to change" in cli("camera", "apply", "cameras.yml").err


def test_a_plan_for_machines_acts_only_when_told_to(cli: Cli, folder: Path) -> None:
    for name, url in (("old", "usb://1"), ("gate", "usb://0"), ("same", "usb://3")):
        assert cli("camera", "add", name, url).code == 0
    (folder / "cameras.yml").write_text(
        "cameras:\n  - {name: gate, url: 'usb://0', fps: 5, areas: [[[0, 0], [1, 0], [1, 0.5]]]}\n"
        "  - {name: same, url: 'usb://3'}\n  - {name: new, url: 'usb://4'}\n"
    )
    plan = {
        "added": ["new"],
        "changed": [
            {
                "name": "gate",
                "fields": {
                    "fps": {"from": "none", "to": "5.0"},
                    "areas": {"from": "none", "to": "((0.0, 0.0), (1.0, 0.0), (1.0, 0.5))"},
                },
            }
        ],
        "removed": ["old"],
        "unchanged": ["same"],
        "kept": [],
        "applied": False,
    }
    done = cli("camera", "apply", "cameras.yml", "--prune", "--json")
    assert (done.code, json.loads(done.out)) == (0, plan)
    assert names() == ["gate", "old", "same"]
    done = cli("camera", "apply", "cameras.yml", "--prune", "--json", "--yes")
    assert json.loads(done.out) == plan | {"applied": True}
    assert names() == ["gate", "new", "same"]


def test_a_file_with_one_bad_camera_changes_none(cli: Cli, folder: Path) -> None:
    (folder / "cameras.yml").write_text(
        "cameras:\n  - {name: good, url: 'usb://0'}\n  - {name: bad, url: 'rtsp://u:hunter2@192.0.2.1/'}\n"
    )
    done = cli("camera", "apply", "cameras.yml", "--yes")
    assert done.code == 2
    assert "cameras.yml: camera bad: expected the password by reference" in done.error
    assert "hunter2" not in done.err
    assert cli("camera", "list", "--json").code == 2  # there is no database yet


def test_cameras_are_disabled_and_enabled_all_or_none(cli: Cli) -> None:
    for name in ("a", "b", "c"):
        assert cli("camera", "add", name, "usb://0", "--min-score", "0.4", "--area", "0,0,1,0,1,1").code == 0
    assert cli("camera", "disable", "a", "nope").code == 2
    assert cli("camera", "disable", "a", "b").code == 0

    def enabled() -> list[bool]:
        return [camera["enabled"] for camera in json.loads(cli("camera", "list", "--json").out)]

    assert enabled() == [False, False, True]
    assert cli("camera", "enable", "b").code == 0
    assert enabled() == [False, True, True]
    kept = json.loads(cli("camera", "list", "--json").out)[1]
    assert (kept["min_score"], kept["areas"]) == (0.4, [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]])
    assert cli("camera", "update", "b", "--unset", "min_score", "--unset", "areas").code == 0
    kept = json.loads(cli("camera", "list", "--json").out)[1]
    assert (kept["min_score"], kept["areas"]) == (None, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--area", "0,0,1"], "--area: expected x,y"),
        (["--min-score", "1.5"], "expected min_score from 0 to 1, got 1.5"),
    ],
)
def test_wrong_areas_and_scores_are_one_line(cli: Cli, arguments: list[str], message: str) -> None:
    done = cli("camera", "add", "gate", "usb://0", *arguments)
    assert done.code == 2
    assert message in done.error


def test_discovered_cameras_are_listed_with_their_addresses(cli: Cli, monkeypatch) -> None:
    with OnvifDevice({"main": "rtsp://192.0.2.1/main"}) as device:
        monkeypatch.setattr("ingest.discovery.MULTICAST", device.discovery_address)
        found = cli("camera", "discover", "--seconds", "1", "--interface", "127.0.0.1")
        listed = cli("camera", "discover", "--seconds", "1", "--interface", "127.0.0.1", "--json")
    assert (found.code, listed.code) == (0, 0)
    assert f"onvif://127.0.0.1:{device.port}" in found.out
    assert "Front Gate" in found.out
    assert "framewatch camera add NAME 'onvif://USER:${PASSWORD}@127.0.0.1" in found.err
    assert json.loads(listed.out)[0]["hardware"] == "TC-1"
    monkeypatch.setattr("ingest.discovery.MULTICAST", ("127.0.0.1", 9))
    nobody = cli("camera", "discover", "--seconds", "1", "--interface", "127.0.0.1")
    assert nobody.code == 1
    assert "no ONVIF camera answered" in nobody.err
