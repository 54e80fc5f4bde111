"""Stream time becomes wall-clock time."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.timestamps import LiveTimeline, RecordedTimeline, SteadyClock, to_media_microseconds

START_US = 1_700_000_000_000_000
NTSC = Fraction(1001, 30000)


def test_a_recording_of_10_fps_steps_by_exactly_a_tenth_of_a_second() -> None:
    timeline = RecordedTimeline(START_US, Fraction(1, 10))
    times = [timeline.capture_time_us(to_media_microseconds(pts, Fraction(1, 10))) for pts in range(1000)]
    assert times == [START_US + 100_000 * index for index in range(1000)]


def test_rounding_does_not_accumulate_over_a_day_of_ntsc() -> None:
    frames = 24 * 3600 * 30
    assert to_media_microseconds(frames, NTSC) == round(frames * NTSC * 1_000_000)


@given(st.integers(-(2**40), 2**40), st.integers(1, 10**6), st.integers(1, 10**6))
def test_stream_time_is_rounded_as_the_exact_fraction(pts: int, numerator: int, denominator: int) -> None:
    time_base = Fraction(numerator, denominator)
    assert to_media_microseconds(pts, time_base) == round(pts * time_base * 1_000_000)


def test_a_recording_starts_at_its_first_frame_whatever_its_first_time_stamp() -> None:
    timeline = RecordedTimeline(START_US, Fraction(1, 25))
    assert timeline.capture_time_us(126_000_000) == START_US
    assert timeline.capture_time_us(126_040_000) == START_US + 40_000


def test_a_recording_without_time_stamps_follows_its_frame_rate() -> None:
    timeline = RecordedTimeline(START_US, Fraction(1, 25))
    times = [timeline.capture_time_us(None) for _ in range(3)]
    assert times == [START_US, START_US + 40_000, START_US + 80_000]


def test_joined_recordings_go_on_one_frame_interval_later() -> None:
    timeline = RecordedTimeline(START_US, Fraction(1, 25))
    times = [timeline.capture_time_us(media_us) - START_US for media_us in (0, 40_000, 80_000, 0, 40_000)]
    assert times == [0, 40_000, 80_000, 120_000, 160_000]


@given(st.lists(st.one_of(st.none(), st.integers(-(10**12), 10**12)), min_size=2, max_size=50))
def test_times_of_a_recording_increase_strictly(stamps: list[int | None]) -> None:
    timeline = RecordedTimeline(START_US, NTSC)
    times = [timeline.capture_time_us(media_us) for media_us in stamps]
    assert all(earlier < later for earlier, later in pairwise(times))


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(-(10**12), 10**12)), st.integers(0, 10**7)),
        min_size=2,
        max_size=50,
    )
)
def test_times_of_a_live_stream_increase_strictly_and_stay_near_the_arrivals(
    frames: list[tuple[int | None, int]],
) -> None:
    timeline, arrival_us, last_us = LiveTimeline(), START_US, 0
    for number, (media_us, waited_us) in enumerate(frames):
        arrival_us += waited_us
        moment_us = timeline.capture_time_us(media_us, arrival_us)
        assert moment_us > last_us
        assert moment_us <= arrival_us + number + 1  # the future only by the microseconds that keep the order
        last_us = moment_us


def test_a_burst_after_connecting_puts_no_frame_into_the_future() -> None:
    timeline = LiveTimeline()
    times = [timeline.capture_time_us(index * 40_000, START_US + index) for index in range(50)]
    assert max(times) <= START_US + 50
    # When the camera has caught up, each frame has its own time again.
    later = [timeline.capture_time_us(2_000_000 + step, START_US + step + 50) for step in (40_000, 80_000)]
    assert later[1] - later[0] == 40_000


def test_jitter_on_the_network_does_not_shift_the_times() -> None:
    timeline = LiveTimeline()
    delays_us = [0, 30_000, 5_000, 80_000, 0, 60_000]
    times = [
        timeline.capture_time_us(index * 40_000, START_US + index * 40_000 + delay_us)
        for index, delay_us in enumerate(delays_us)
    ]
    assert times == [START_US + index * 40_000 for index in range(6)]


def test_a_stream_whose_time_starts_over_goes_on_at_the_arrival() -> None:
    timeline = LiveTimeline()
    timeline.capture_time_us(5_000_000, START_US)
    assert timeline.capture_time_us(0, START_US + 40_000) == START_US + 40_000


def test_a_camera_clock_that_is_slow_by_one_in_a_thousand_is_followed() -> None:
    timeline = LiveTimeline()
    for second in range(600):
        arrival_us = START_US + second * 1_000_000
        moment_us = timeline.capture_time_us(second * 999_000, arrival_us)
        assert 0 <= arrival_us - moment_us <= 61_000  # what it drifts in two windows of 30 s


def test_what_would_jump_back_goes_on_slowly() -> None:
    timeline = LiveTimeline()
    times = []
    for index in range(100):
        sender_us = None if index < 25 else START_US + index * 40_000 - 300_000  # the first report came
        times.append(
            timeline.capture_time_us(index * 40_000, START_US + index * 40_000, sender_us) - START_US
        )
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert min(steps) >= 20_000
    assert times[-1] == 99 * 40_000 - 300_000


@pytest.mark.parametrize(
    ("delay_us", "believed"), [(0, True), (4_900_000, True), (-50_000, False), (5_100_000, False)]
)
def test_a_sender_is_believed_within_five_seconds(delay_us: int, believed: bool) -> None:
    timeline = LiveTimeline()
    moment_us = timeline.capture_time_us(0, START_US, START_US - delay_us)
    assert moment_us == (START_US - delay_us if believed else START_US)
    assert timeline.report.ahead_s == -delay_us / 1e6


@given(
    st.lists(
        st.tuples(
            st.integers(-(10**12), 10**12),
            st.integers(0, 10**7),
            st.one_of(st.none(), st.integers(-(10**8), 10**8)),
        ),
        min_size=2,
        max_size=50,
    )
)
def test_times_by_a_senders_clock_increase_strictly_and_are_never_in_the_future(
    frames: list[tuple[int, int, int | None]],
) -> None:
    timeline, arrival_us, last_us = LiveTimeline(), START_US, 0
    for number, (media_us, waited_us, ahead_us) in enumerate(frames):
        arrival_us += waited_us
        sender_us = None if ahead_us is None else arrival_us + ahead_us
        moment_us = timeline.capture_time_us(media_us, arrival_us, sender_us)
        assert last_us < moment_us <= arrival_us + number + 1
        last_us = moment_us


@pytest.mark.parametrize("ppm", [-1000, 0, 200])
def test_the_drift_of_a_cameras_clock_is_told(ppm: int) -> None:
    timeline = LiveTimeline()
    for second in range(300):
        elapsed_us = second * 1_000_000
        jitter_us = second * 7919 % 20_000
        timeline.capture_time_us(elapsed_us + elapsed_us * ppm // 10**6, START_US + elapsed_us + jitter_us)
    assert timeline.report.drift_ppm == pytest.approx(ppm, abs=20)
    assert timeline.report.ahead_s is None


def test_the_steady_clock_never_goes_back(monkeypatch) -> None:
    wall_us, tick_us = [START_US], [0]
    monkeypatch.setattr("ingest.timestamps.time.time_ns", lambda: wall_us[0] * 1000)
    monkeypatch.setattr("ingest.timestamps.time.monotonic_ns", lambda: tick_us[0] * 1000)
    clock = SteadyClock()
    assert clock.now_us() == START_US
    wall_us[0] -= 100_000_000  # set back by 100 s
    tick_us[0] += 1_000_000
    assert clock.now_us() == START_US + 900_000
    wall_us[0] += 2_000_000_000
    assert clock.now_us() == wall_us[0]
