"""Decoding keyframes alone, where that is enough."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from ingest.sources import open_source
from ingest.sources.keyframes import KeyframeChoice
from ingest.sources.source import SourceFrame, SourceOptions
from tests.clips import read_number
from tests.rtsp_server import RtspServer, encode_clip


def active_after(choice: KeyframeChoice, *moments_s: float) -> list[bool]:
    answers = []
    for moment_s in moments_s:
        choice.follow(moment_s)
        answers.append(choice.active)
    return answers


def test_three_regular_intervals_are_enough() -> None:
    assert active_after(KeyframeChoice(1.0, None), 0, 1.0, 2.04, 3.0) == [False, False, False, True]


@pytest.mark.parametrize("fps", [None, 1.2, 5.0])
def test_more_frames_than_keyframes_need_them_all(fps: float | None) -> None:
    assert not any(active_after(KeyframeChoice(fps, None), 0, 1, 2, 3, 4))


def test_a_stretched_interval_takes_every_frame_again_until_it_is_regular() -> None:
    choice = KeyframeChoice(1.0, None)
    assert active_after(choice, 0, 1, 2, 3, 8, 9, 10, 11) == [*[False] * 3, True, *[False] * 3, True]


def test_stream_time_that_starts_anew_is_no_interval() -> None:
    assert active_after(KeyframeChoice(1.0, None), 100, 101, 102, 0, 1) == [*[False] * 4, True]


def test_it_can_be_forced_and_forbidden() -> None:
    assert active_after(KeyframeChoice(25.0, True), 0, 10) == [True, True]
    assert not any(active_after(KeyframeChoice(0.1, False), 0, 1, 2, 3, 4))


def test_the_next_picture_may_take_two_intervals() -> None:
    choice = KeyframeChoice(0.1, None)
    assert choice.patience_s == 0
    active_after(choice, 0, 10, 20, 30)
    assert choice.patience_s == 20


@pytest.fixture
def quick_keyframes(clip: Path) -> Iterator[RtspServer]:
    """Numbered frames at 25 fps, every fifth of which is a keyframe."""
    with RtspServer(encode_clip(clip, keyframe_every=5)) as server:
        yield server


def numbers(frames: list[SourceFrame]) -> list[int]:
    return [read_number(frame.image, 320) for frame in frames if not frame.is_left_out]


def test_a_camera_with_enough_keyframes_has_only_these_decoded(quick_keyframes: RtspServer) -> None:
    with open_source(quick_keyframes.url(), SourceOptions(fps=5)) as source:
        frames = list(islice(source, 60))
    assert numbers(frames[:15]) == list(range(15))
    assert numbers(frames[20:]) == [20, 25, 30, 35, 40, 45, 50, 55]
    assert sum(frame.is_left_out for frame in frames[20:]) == 32
    moments = [frame.captured_at for frame in frames if not frame.is_left_out]
    assert moments == sorted(set(moments))


def test_keyframes_alone_from_the_start_when_asked_for(quick_keyframes: RtspServer) -> None:
    with open_source(quick_keyframes.url(), SourceOptions(keyframes_only=True)) as source:
        assert numbers(list(islice(source, 20))) == [0, 5, 10, 15]


def test_what_its_reader_takes_for_a_frame_is_no_silence_of_the_camera(quick_keyframes: RtspServer) -> None:
    options = SourceOptions(keyframes_only=True, stall_timeout_s=1.0)
    with open_source(quick_keyframes.url(), options) as source:
        frames = iter(source)
        list(islice(frames, 25))
        for _ in range(2):
            next(frame for frame in frames if frame.is_left_out)
            time.sleep(2.5)  # as long as a publish may take while Redis does not answer
            assert len(list(islice(frames, 50))) == 50


def test_keyframes_cost_a_fraction_of_all_frames(clip: Path) -> None:
    def cpu_s(url: str, keyframes_only: bool) -> float:
        with open_source(url, SourceOptions(keyframes_only=keyframes_only)) as source:
            frames = iter(source)
            next(frames)
            before_s = time.thread_time()
            list(islice(frames, 50))
            return time.thread_time() - before_s

    with RtspServer(encode_clip(clip, max_frames=50, size=(1280, 960))) as server:
        assert cpu_s(server.url(), True) < 0.5 * cpu_s(server.url(), False)
