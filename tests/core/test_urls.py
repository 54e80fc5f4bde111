import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.urls import has_literal_password, has_sound_address, redact_url

SECRETS = [
    ("rtsp://viewer:hunter2@10.0.0.7:554/stream1", "rtsp://viewer:***@10.0.0.7:554/stream1"),
    ("rtsp://viewer:hunter2@[fe80::1]/stream", "rtsp://viewer:***@[fe80::1]/stream"),
    ("rtsp://:hunter2@10.0.0.7/", "rtsp://:***@10.0.0.7/"),
    ("rtsp://viewer:hun@ter2@10.0.0.7/", "rtsp://viewer:***@10.0.0.7/"),
    ("rtsp://viewer:hun/ter2@10.0.0.7/", "rtsp://viewer:***@10.0.0.7/"),
    ("rtsp://viewer:hun@t/er2@10.0.0.7/", "rtsp://viewer:***@10.0.0.7/"),
    ("rtsp://viewer:hun#ter?2@10.0.0.7/", "rtsp://viewer:***@10.0.0.7/"),
    ("rtsp://viewer:hun%40ter2@10.0.0.7/", "rtsp://viewer:***@10.0.0.7/"),
    ("rtsp://viewer:${A}hunter2@10.0.0.7/", "rtsp://viewer:***@10.0.0.7/"),
    ("rtsp://viewer:${file:/run/secrets/a}hunter2@10.0.0.7/", "rtsp://viewer:***@10.0.0.7/"),
    ("rtsp://viewer:${file:secrets/a}@10.0.0.7/", "rtsp://viewer:***@10.0.0.7/"),
    ("http://cam/snapshot.cgi?user=a&pwd=hunter2&size=1", "http://cam/snapshot.cgi?user=a&pwd=***&size=1"),
    ("http://cam/live?access_token=hunter2#top", "http://cam/live?access_token=***#top"),
    (
        "rtsp://cam/user=admin_password=hunt_er2_channel=1_stream=0.sdp",
        "rtsp://cam/user=admin_password=***_channel=1_stream=0.sdp",
    ),
    ("rtsp://cam/user=admin&password=hunter2&channel=1", "rtsp://cam/user=admin&password=***&channel=1"),
    ("http://cam/video?usr=admin&pw=hunter2", "http://cam/video?usr=admin&pw=***"),
    ("http://cam/video?token=hun_ter2_x=1", "http://cam/video?token=***"),
    ("http://cam/video?u=admin&p=hunter2&c=1", "http://cam/video?u=admin&p=***&c=1"),
    ("http://cam/video?c=1&user=admin&p=hunter2", "http://cam/video?c=1&user=admin&p=***"),
    ("postgresql+psycopg://me:hunter2@db/history", "postgresql+psycopg://me:***@db/history"),
]
NO_SECRETS = [
    "rtsp://10.0.0.7:554/stream1",
    "rtsp://viewer@10.0.0.7/stream1",
    "rtsp://viewer:@10.0.0.7/stream1",
    "rtsp://viewer:${GATE_PASSWORD}@10.0.0.7/stream1",
    "rtsp://viewer:${GATE_PASSWORD}@10.0.0.7/live@1",
    "rtsp://viewer:${file:/run/secrets/gate@home?#}@10.0.0.7/live@1",
    "rtsp://${file:/run/secrets/user}:${file:/run/secrets/gate}@10.0.0.7/live@1",
    "rtsp://${file:/run/secrets/camera}/live@1",
    "${file:/run/secrets/url}",
    "http://cam/snapshot.cgi?user=a&pwd=${file:/run/secrets/gate}&size=1",
    "rtsp://admin:@10.0.0.7/live@1",
    "rtsp://viewer@10.0.0.7:554/live@1",
    "rtsp://viewer:***@10.0.0.7/stream1",
    "rtsp://10.0.0.7:554/live@1/path:2",
    "rtsp://[fe80::1]:554/live@1",
    "http://cam/snapshot.cgi?user=a&pwd=${GATE_PASSWORD}&size=1",
    "http://cam/stream?passage=2",
    "http://cam/stream?p=2&u=1",
    "http://cam/stream?u=admin&p=${GATE_PASSWORD}",
    "rtsp://cam/user=admin_password=${GATE_PASSWORD}_channel=1_stream=0.sdp",
    "rtsp://cam/user=admin_password=_channel=1_stream=0.sdp",
    "/clips/street:one@noon.mp4",
    "C:/clips/street.mp4",
    "usb://0",
    "",
]


@pytest.mark.parametrize(("url", "shown"), SECRETS)
def test_a_literal_secret_is_found_and_hidden(url: str, shown: str) -> None:
    assert has_literal_password(url)
    assert redact_url(url) == shown
    assert not has_literal_password(shown)


@pytest.mark.parametrize("url", NO_SECRETS)
def test_urls_without_a_literal_secret_stay_as_they_are(url: str) -> None:
    assert not has_literal_password(url)
    assert redact_url(url) == url


@pytest.mark.parametrize("host", ["cam era", "cam\x7fera", "[fe80::1", "cam:eighty"])
def test_a_host_that_cannot_be_is_told(host: str) -> None:
    assert not has_sound_address(f"rtsp://viewer:my [pass@{host}/stream 1")
    assert has_sound_address("rtsp://viewer:my [pass@camera:554/stream 1")


passwords = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4).filter(
    # Digits up to a slash are a port to every parser, and nothing up to '@' is no password.
    lambda text: "$" not in text and re.match(r"\d*[/?#]|@", text) is None
)


@given(passwords)
def test_no_password_however_odd_is_shown(password: str) -> None:
    url = f"rtsp://viewer:{password}@cam.example/stream"
    assert f":{password}@" not in redact_url(url)
