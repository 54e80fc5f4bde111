"""Video files: every frame, at its own time, or one clear line."""

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from core.errors import CorruptFrameError, SourceError
from ingest.sources import open_source
from ingest.sources.source import SourceFrame, SourceOptions
from tests.clips import read_number, write_clip

RECORDED_AT = datetime(2024, 5, 17, 8, 30, 15, 250_000, tzinfo=UTC)


def date_file(path: Path, moment: datetime = RECORDED_AT) -> Path:
    os.utime(path, ns=(0, round(moment.timestamp() * 1_000_000) * 1000))
    return path


def times_of(path: Path) -> list[datetime]:
    with open_source(str(path)) as source:
        return [frame.captured_at for frame in source]


@pytest.mark.parametrize("fps", [10, 25, Fraction(30000, 1001)])
def test_frames_step_by_the_frame_rate_from_the_modification_time(tmp_path: Path, fps: Fraction) -> None:
    path = date_file(write_clip(tmp_path / "clip.mkv", frames=40, fps=fps))
    times = times_of(path)
    exact = [RECORDED_AT + timedelta(microseconds=round(index * 1_000_000 / fps)) for index in range(40)]
    assert times[0] == RECORDED_AT
    # Matroska keeps whole milliseconds.
    assert all(abs(time - at) <= timedelta(milliseconds=1) for time, at in zip(times, exact, strict=True))


def test_an_avi_without_time_stamps_steps_by_exactly_a_tenth_of_a_second(street_clip: Path) -> None:
    times = times_of(street_clip)
    assert len(times) == 795
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(seconds=0.1)}
    assert times[0].timestamp() == int(street_clip.stat().st_mtime)


def test_a_variable_frame_rate_keeps_each_frames_own_time(tmp_path: Path) -> None:
    times_ms = [0, 40, 200, 233, 1000, 1001, 5000]
    path = date_file(write_clip(tmp_path / "vfr.mkv", frames=7, times_ms=times_ms))
    assert times_of(path) == [RECORDED_AT + timedelta(milliseconds=time_ms) for time_ms in times_ms]


def test_the_recording_time_in_the_container_comes_first(tmp_path: Path) -> None:
    said = "2023-01-02T03:04:05.678901Z"
    path = date_file(write_clip(tmp_path / "phone.mkv", frames=3, metadata={"creation_time": said}))
    assert times_of(path)[0] == datetime(2023, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


def test_a_recorder_without_a_clock_is_not_believed(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mkv", frames=3, metadata={"creation_time": "1970-01-01T00:00:00Z"})
    assert times_of(date_file(path))[0] == RECORDED_AT


def test_reading_again_gives_the_same_times(clip: Path) -> None:
    assert times_of(clip) == times_of(clip)


def test_b_frames_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    path = tmp_path / "b-frames.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.codec_context.max_b_frames = 320, 240, 2
        for number in range(30):
            frame = av.VideoFrame(320, 240, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    steps = {later - earlier for earlier, later in pairwise(times_of(path))}
    assert steps == {timedelta(seconds=0.04)}


def test_pictures_are_shrunk_and_know_their_source_size(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "hd.mp4", frames=12, size=(1280, 720))
    with open_source(str(path), SourceOptions(max_side=640)) as source:
        frames = list(source)
    assert [read_number(frame.image, 1280) for frame in frames] == list(range(12))
    assert (frames[0].image.shape, frames[0].source_size) == ((360, 640, 3), (1280, 720))


def test_a_file_url_names_a_file_with_spaces(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "front door.mp4", frames=2)
    with open_source(f"file://{str(path).replace(' ', '%20')}") as source:
        assert len(list(source)) == 2
        assert str(source.format) == "h264 320x240 25 fps"


@pytest.mark.parametrize("name", ["2026-11-27T12:30:00.mp4", "file:street.mp4", "a%20b #1?.mp4"])
def test_a_relative_name_may_hold_any_character(tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / name, frames=2)
    with open_source(name) as source:
        assert len(list(source)) == 2


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_recording_made_with_a_turned_phone_stands_upright(tmp_path: Path, quarter_turns: int) -> None:
    flat, turned = write_clip(tmp_path / "flat.mp4", frames=3), tmp_path / "turned.mp4"
    write_turned(flat, turned, 90 * quarter_turns)
    with open_source(str(flat)) as source:
        expected = next(iter(source)).image
    with open_source(str(turned)) as source:
        frame = next(iter(source))
    for _ in range(quarter_turns):
        expected = expected.transpose(1, 0, 2)[::-1]  # counterclockwise
    assert frame.source_size == (expected.shape[1], expected.shape[0])
    assert (frame.image == expected).mean() > 0.99


def write_turned(flat: Path, turned: Path, degrees: int) -> None:
    """Patches the display matrix in the track header of an MP4 (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(flat.read_bytes())
    upright = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    cos, sin = {90: (0, -0x10000), 180: (-0x10000, 0), 270: (0, 0x10000)}[degrees]
    matrix = (cos, sin, 0, -sin, cos, 0, 0, 0, 0x40000000)
    place = data.index(b"tkhd")
    place = data.index(pack_matrix(upright), place)
    data[place : place + 36] = pack_matrix(matrix)
    turned.write_bytes(data)


def pack_matrix(values: tuple[int, ...]) -> bytes:
    return b"".join(value.to_bytes(4, "big", signed=True) for value in values)


# ---- what is no video --------------------------------------------------------------------------------------


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame("fltp", "mono", 1024)
        frame.sample_rate, frame.pts = 44100, 0
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("notes.mp4", b"Dear diary,\ntoday nothing moved.\n" * 50, "a text file"),
        ("empty.mp4", b"", "an empty file"),
        ("noise.avi", bytes(range(256)) * 40, "a file of another kind"),
    ],
)
def test_a_file_that_is_no_video_says_so_in_one_line(
    tmp_path: Path, name: str, content: bytes, got: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        open_source(str(tmp_path / name))
    assert str(caught.value) == f"{tmp_path / name}: expected a video, got {got}"


def test_a_sound_file_is_no_video(tmp_path: Path) -> None:
    write_sound(tmp_path / "talk.mp4")
    with pytest.raises(SourceError, match=r"expected a video, got a file with audio only$"):
        open_source(str(tmp_path / "talk.mp4"))


def test_a_missing_file_says_so_in_one_line() -> None:
    with pytest.raises(SourceError, match=r"^/nowhere/street\.mp4: no such file; expected a video"):
        open_source("/nowhere/street.mp4")


def test_a_pipe_is_refused_before_it_can_hang_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(SourceError, match="expected a file or a folder, got something else"):
        open_source(str(tmp_path / "pipe.mp4"))


def test_a_recording_that_was_never_closed_says_so(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4")
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:-3000])
    with pytest.raises(SourceError, match="an MP4 without its index: the recording was cut off"):
        open_source(str(tmp_path / "cut.mp4"))


def cut_off(path: Path, share: float = 0.6) -> Path:
    data = path.read_bytes()
    cut = path.with_stem("cut")
    cut.write_bytes(data[: int(len(data) * share)])
    return cut


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "mpeg4"), ("clip.mkv", "libx264")])
def test_a_truncated_recording_gives_its_readable_frames_first(tmp_path: Path, name: str, codec: str) -> None:
    path = cut_off(write_clip(tmp_path / name, frames=200, codec=codec))
    numbers = []
    with open_source(str(path)) as source:
        frames = iter(source)
        with pytest.raises(SourceError, match=r"got a file cut off after frame \d+") as caught:
            numbers.extend(number_or_none(frame) for frame in frames)
    readable = [number for number in numbers if number is not None]
    assert readable == list(range(len(readable)))
    assert len(numbers) - len(readable) <= 1
    assert 50 < len(readable) < 200
    assert "\n" not in str(caught.value)


def number_or_none(frame: SourceFrame) -> int | None:
    try:
        return read_number(frame.image, 320)
    except CorruptFrameError:
        return None


@pytest.mark.parametrize("name", ["whole.avi", "whole.mkv", "whole.mp4", "whole.ts"])
def test_a_whole_recording_is_not_called_truncated(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    assert len(times_of(write_clip(tmp_path / name, frames=60, codec=codec))) == 60


def test_a_truncated_street_clip_gives_most_of_its_frames(street_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.avi").write_bytes(street_clip.read_bytes())
    path = cut_off(tmp_path / "clip.avi")
    frames: list[SourceFrame] = []
    with open_source(str(path)) as source, pytest.raises(SourceError, match="expected about 795 frames"):
        frames.extend(source)
    assert 400 < len(frames) < 500


def test_a_playlist_does_not_make_us_open_anything_else(tmp_path: Path, clip: Path) -> None:
    playlist = tmp_path / "list.ffconcat"
    playlist.write_text("ffconcat version 1.0\nfile 'http://127.0.0.1:9/x.mp4'\n")
    with pytest.raises(SourceError, match="Operation not permitted"):
        open_source(str(playlist))


def test_damaged_packets_in_the_middle_are_counted_and_skipped(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "damaged.mkv", frames=60, codec="mjpeg")
    data = path.read_bytes()
    pictures = [match.span() for match in re.finditer(b"\xff\xd8\xff.*?\xff\xd9", data, re.DOTALL)]
    for start, end in pictures[20:23]:
        data = data[:start] + bytes(end - start) + data[end:]
    path.write_bytes(data)
    with open_source(str(path)) as source:
        numbers = [number_or_none(frame) for frame in source]
    assert numbers == [None if 20 <= number < 23 else number for number in range(60)]


def test_nothing_stays_open_after_reading(clip: Path) -> None:
    with open_source(str(clip)) as source:
        list(source)
    held = subprocess.run(
        ["find", "/proc/self/fd", "-lname", str(clip)], capture_output=True, text=True, check=True
    )
    assert held.stdout == ""
