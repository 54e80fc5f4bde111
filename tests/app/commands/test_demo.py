"""`framewatch demo` with a clip of one's own; test_demo_clips.py fetches the demo's."""

from pathlib import Path

import cv2
import pytest

from tests.app.conftest import Cli
from tests.clips import write_clip

pytestmark = pytest.mark.redis


def test_the_demo_ends_by_itself_and_shows_rows_counts_and_a_picture(
    process: Cli, folder: Path, tiny_weights: Path
) -> None:
    write_clip(folder / "street.mp4", frames=20)
    done = process("demo", "street.mp4", "--model", tiny_weights)
    assert done.code == 0, done.err
    assert "street        20      20          0" in done.out
    assert "FROM detection_history" in done.out
    assert "camera  captured_at" in done.out
    assert "Detections per class and camera:" in done.out
    assert "otanalytics" not in done.out
    picture = folder / "framewatch-data" / "demo.jpg"
    assert f"Annotated picture: {picture.relative_to(folder)}" in done.out
    drawn = cv2.imread(str(picture))
    assert drawn.shape == (240, 320, 3)
    assert (folder / "framewatch-data" / "demo.db").is_file()
    assert not (folder / "framewatch.db").exists(), "the demo leaves a person's own history alone"
