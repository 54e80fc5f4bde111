"""docs/cameras.md says what there is."""

from dataclasses import fields
from pathlib import Path

import pytest

from core.camera_state import CameraActivity
from core.settings import PREFIX, Settings
from core.types import Camera, DropReason
from ingest.sources import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "cameras.md").read_text()
KEPT_ELSEWHERE = {"name", "url", "model", "classes", "min_score", "evidence", "enabled"}


@pytest.mark.parametrize("scheme", [scheme for kind in KINDS for scheme in kind.schemes])
def test_every_scheme_is_on_the_page(scheme: str) -> None:
    assert f"`{scheme}://" in PAGE


@pytest.mark.parametrize(
    "option", [field.name for field in fields(Camera) if field.name not in KEPT_ELSEWHERE]
)
def test_every_option_of_reading_is_on_the_page(option: str) -> None:
    assert f"| `{option}` |" in PAGE


@pytest.mark.parametrize(
    "word", [*CameraActivity, *(reason for reason in DropReason if reason is not DropReason.FAILED)]
)
def test_every_state_and_drop_reason_is_on_the_page(word: str) -> None:
    assert f"`{word}`" in PAGE


@pytest.mark.parametrize(
    "name", ["open_timeout_s", "stall_timeout_s", "reconnect_min_s", "reconnect_max_s", "refused_wait_s"]
)
def test_the_settings_on_the_page_have_their_defaults(name: str) -> None:
    default = Settings.model_fields[name].default
    assert f"`{PREFIX}{name.upper()}` ({default:g} s)" in PAGE
