"""`${NAME}` in camera URLs."""

import pytest

from core.errors import SettingsError
from ingest.references import resolve_references


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
