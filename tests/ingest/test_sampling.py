"""Any frame rate becomes the one asked for."""

import random
from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import from_microseconds
from ingest.sampling import Sampler

START_US = 1_700_000_000_000_000


def taken_us(sampler: Sampler, times_us: list[int]) -> list[int]:
    def moment(time_us: int) -> datetime:
        return from_microseconds(START_US + time_us)

    return [time_us for time_us in times_us if sampler.takes(moment(time_us))]


def regular(fps: float, seconds: float) -> list[int]:
    return [round(index * 1e6 / fps) for index in range(int(fps * seconds))]


def test_without_fps_every_frame_is_taken() -> None:
    assert len(taken_us(Sampler(None), regular(29.97, 10))) == 299


@pytest.mark.parametrize(
    ("source_fps", "fps"), [(25, 5), (29.97, 5), (30, 7), (60, 1), (12.5, 10), (10, 0.5)]
)
def test_the_rate_is_met(source_fps: float, fps: float) -> None:
    taken = taken_us(Sampler(fps), regular(source_fps, 60))
    assert abs(len(taken) - 60 * fps) <= 1


@pytest.mark.parametrize("source_fps", [5, 4.9, 3, 1])
def test_a_source_at_or_below_the_rate_is_taken_whole(source_fps: float) -> None:
    times_us = regular(source_fps, 60)
    assert taken_us(Sampler(5), times_us) == times_us


def test_every_fifth_frame_is_taken_in_spite_of_jitter() -> None:
    jitter = random.Random(5)
    times_us = [index * 40_000 + jitter.randint(-8_000, 8_000) for index in range(1000)]
    assert taken_us(Sampler(5), times_us)[1:] == times_us[5::5]


@given(
    source_fps=st.floats(2, 60),
    share=st.floats(0.02, 1.0),
    seed=st.integers(0, 1000),
)
def test_frames_are_taken_at_an_even_pace(source_fps: float, share: float, seed: int) -> None:
    fps, interval_us, jitter = source_fps * share, 1e6 / source_fps, random.Random(seed)
    times_us = [round((index + jitter.uniform(-0.2, 0.2)) * interval_us) for index in range(400)]
    taken = taken_us(Sampler(fps), times_us)
    expected = (times_us[-1] - times_us[0]) / 1e6 * fps
    assert abs(len(taken) - expected) <= 2
    longest_us = max((later - earlier for earlier, later in pairwise(taken)), default=0)
    assert longest_us <= 1e6 / fps + 2.5 * interval_us


def test_after_a_gap_nothing_is_made_up_for() -> None:
    times_us = [*regular(25, 2), *(time_us + 60_000_000 for time_us in regular(25, 2))]
    assert len(taken_us(Sampler(5), times_us)) == 20
