"""Recordings as live cameras."""

import time
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path

import pytest

from core.errors import SourceError
from core.types import Policy
from ingest.camera_defaults import camera_for
from ingest.sources import open_source
from ingest.sources.source import SourceOptions
from tests.clips import read_number, write_clip, write_pictures

LOOP = SourceOptions(loop=True)


def test_a_video_plays_at_its_own_speed_from_its_end_to_its_beginning(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=10, fps=20)
    started, now = time.monotonic(), datetime.now(UTC)
    with open_source(str(clip), LOOP) as source:
        frames = list(islice(source, 25))
    assert 24 / 20 <= time.monotonic() - started < 10
    assert [read_number(frame.image, 320) for frame in frames] == [number % 10 for number in range(25)]
    assert not source.recorded
    assert all(earlier.captured_at < later.captured_at for earlier, later in pairwise(frames))
    assert frames[0].captured_at >= now


def test_pictures_loop_as_well(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 2)
    with open_source(str(folder), LOOP) as source:
        frames = list(islice(source, 3))
    assert [read_number(frame.image, 320) for frame in frames] == [0, 1, 0]


@pytest.mark.parametrize("kind", ["picture", "folder", "video"])
def test_a_single_frame_comes_once_a_second(tmp_path: Path, kind: str) -> None:
    folder = write_pictures(tmp_path / "pictures", 1)
    path = {"picture": folder / "picture-0000.jpg", "folder": folder, "video": tmp_path / "one.mp4"}[kind]
    if kind == "video":
        write_clip(path, frames=1)
    with open_source(str(path), LOOP) as source:
        earlier, later = islice(source, 2)
    assert 0.9 <= (later.captured_at - earlier.captured_at).total_seconds() < 5
    assert read_number(later.image, 320) == 0


def test_a_recording_without_frames_is_refused_instead_of_looped(tmp_path: Path) -> None:
    empty = write_clip(tmp_path / "empty.avi", frames=0, codec="mpeg4")
    with pytest.raises(SourceError), open_source(str(empty), LOOP) as source:
        next(iter(source))


def test_a_looped_recording_is_a_live_camera() -> None:
    camera = camera_for("/videos/street.mp4", loop=True)
    assert (camera.policy, camera.max_age_s) == (Policy.DROP_OLDEST, 10.0)
