"""`${NAME}` and `${file:/path}` in camera URLs."""

from pathlib import Path

import pytest

from core.errors import SettingsError, SourceLostError
from ingest.references import hide_secrets, resolve_references


def test_a_password_is_filled_in_and_encoded() -> None:
    url = resolve_references("rtsp://viewer:${GATE}@192.0.2.10/stream", {"GATE": "p@ss/w:rd"})
    assert url == "rtsp://viewer:p%40ss%2Fw%3Ard@192.0.2.10/stream"


def test_a_reference_elsewhere_is_taken_as_it_is() -> None:
    known = {"HOST": "192.0.2.10:554", "URL": "rtsp://a:b@192.0.2.10/x"}
    assert resolve_references("rtsp://${HOST}/stream", known) == "rtsp://192.0.2.10:554/stream"
    assert resolve_references("${URL}", known) == "rtsp://a:b@192.0.2.10/x"


def test_the_environment_is_asked(monkeypatch) -> None:
    monkeypatch.setenv("FRAMEWATCH_TEST_GATE", "secret")
    assert resolve_references("rtsp://a:${FRAMEWATCH_TEST_GATE}@host/") == "rtsp://a:secret@host/"


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match=r"variable GATE_PASSWORD .* not") as caught:
        resolve_references("rtsp://viewer:${GATE_PASSWORD}@192.0.2.10/stream", {"OTHER": "hush"})
    assert "hush" not in str(caught.value)


def test_a_file_holds_a_secret_and_is_read_anew_each_time(tmp_path: Path) -> None:
    secret = tmp_path / "gate@home"
    url = f"rtsp://viewer:${{file:{secret}}}@192.0.2.10/${{PART}}"
    for password, encoded in (("p@ss/w:rd", "p%40ss%2Fw%3Ard"), ("new", "new")):
        secret.write_text(f"{password}\n")
        assert resolve_references(url, {"PART": "a/b"}) == f"rtsp://viewer:{encoded}@192.0.2.10/a/b"
    secret.write_text("rtsp://a:b@192.0.2.10/x\r\n")
    assert resolve_references(f"${{file:{secret}}}") == "rtsp://a:b@192.0.2.10/x"


def test_a_secret_that_holds_a_reference_stands_for_itself(tmp_path: Path) -> None:
    (tmp_path / "gate").write_text("${HOME}")
    url = f"http://192.0.2.10/?pwd=${{file:{tmp_path}/gate}}&x=${{A}}"
    assert resolve_references(url, {"A": "${B}"}) == "http://192.0.2.10/?pwd=${HOME}&x=${B}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "got: No such file"),
        (b"", "one line"),
        (b"hush\nhush", "one line"),
        (b"hush" * 2000, "one line"),
        (b"hush\xff", "no text"),
    ],
)
def test_a_file_without_a_secret_is_named_and_may_come_later(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    secret = tmp_path / "gate"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(SourceLostError, match=f"{secret}.*{reason}") as caught:
        resolve_references(f"rtsp://viewer:${{file:{secret}}}@192.0.2.10/")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "text", "shown"),
    [
        ("rtsp://viewer:${PW}@host/", "rtsp://viewer:hush%2Fhush@host/: no", "rtsp://viewer:***@host/: no"),
        ("rtsp://viewer:${PW}@host/", "login viewer:hush/hush", "login viewer:***"),
        ("${URL}", "cannot find cam.example/live?pwd=sesame", "cannot find ***"),
        ("${URL}", "pwd=sesame", "pwd=***"),
        ("${MISSPELT}", "rstp:/viewer:hush@host/: no such file", "***/: no such file"),
        ("http://host/?token=${PW}", "GET /?token=hush/hush", "GET /?token=***"),
        ("rtsp://host:7441/${PW}", "rtsp://host:7441/hush/hush", "rtsp://host:7441/***"),
        ("rtsp://viewer:open%40sesame@host/", "as viewer:open@sesame", "as viewer:***"),
        ("rtsp://viewer:${NO}@host/", "variable NO", "variable NO"),
        ("rtsp://host/${ONE}", "live at 15 fps", "live at 15 fps"),
    ],
)
def test_secrets_are_hidden_in_any_text(
    monkeypatch: pytest.MonkeyPatch, url: str, text: str, shown: str
) -> None:
    monkeypatch.setenv("PW", "hush/hush")
    monkeypatch.setenv("URL", "cam.example/live?pwd=sesame")
    monkeypatch.setenv("MISSPELT", "rstp:///viewer:hush@host/")
    monkeypatch.setenv("ONE", "1")
    assert hide_secrets(text, url) == shown
