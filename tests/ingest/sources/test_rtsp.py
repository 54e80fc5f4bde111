"""RTSP cameras, over a socket, with everything that goes wrong in the field."""

import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from pathlib import Path

import pytest

from core.errors import CorruptFrameError, SourceError, SourceLostError, SourceRefusedError
from core.types import Transport
from ingest.sources import open_source
from ingest.sources.source import SourceFrame, SourceOptions
from tests.clips import read_number
from tests.rtsp_server import Fault, RtspServer, encode_clip

QUICK = SourceOptions(open_timeout_s=1.0, stall_timeout_s=1.0)


def test_frames_arrive_in_order_at_their_wall_clock_times(rtsp_server: RtspServer) -> None:
    with open_source(rtsp_server.url(), QUICK) as source:
        frames = list(islice(source, 40))
        now = datetime.now(UTC)
    assert [read_number(frame.image, 320) for frame in frames] == list(range(40))
    assert not source.recorded
    assert str(source.format) == "h264 320x240 25 fps"
    assert timedelta(0) <= now - frames[-1].captured_at < timedelta(seconds=0.5)
    # After the burst in which the first frames come, the camera's own steps; shorter ones while the least
    # delay is still being found.
    steps = [later.captured_at - earlier.captured_at for earlier, later in pairwise(frames[20:])]
    assert timedelta(0) < min(steps)
    assert max(steps) <= timedelta(seconds=0.041)


def test_several_clients_are_served_at_once(rtsp_server: RtspServer) -> None:
    with open_source(rtsp_server.url(), QUICK) as first, open_source(rtsp_server.url(), QUICK) as second:
        assert len(list(islice(first, 5))) == len(list(islice(second, 5))) == 5


def test_a_camera_that_freezes_is_noticed_within_the_stall_time(rtsp_server: RtspServer) -> None:
    with open_source(rtsp_server.url(), QUICK) as source:
        frames = iter(source)
        list(islice(frames, 10))
        rtsp_server.fault = Fault.FREEZE
        frozen_at = time.monotonic()
        with pytest.raises(SourceLostError, match="nothing came for 1 s"):
            list(frames)
    assert time.monotonic() - frozen_at < QUICK.stall_timeout_s + 1


def test_a_short_pause_is_no_stall(rtsp_server: RtspServer) -> None:
    with open_source(rtsp_server.url(), QUICK) as source:
        frames = iter(source)
        list(islice(frames, 10))
        rtsp_server.fault = Fault.FREEZE
        time.sleep(0.6)
        rtsp_server.fault = Fault.NONE
        assert len(list(islice(frames, 30))) == 30


def test_a_camera_that_never_answers_is_given_up_in_time(rtsp_server: RtspServer) -> None:
    rtsp_server.fault = Fault.FREEZE
    asked_at = time.monotonic()
    with pytest.raises(SourceLostError, match="no answer within 1 s"):
        open_source(rtsp_server.url(), QUICK)
    assert time.monotonic() - asked_at < 2 * QUICK.open_timeout_s + 1


def test_a_camera_that_hangs_up_is_lost(rtsp_server: RtspServer) -> None:
    with open_source(rtsp_server.url(), QUICK) as source:
        frames = iter(source)
        list(islice(frames, 10))
        rtsp_server.drop_clients()
        with pytest.raises(SourceLostError, match=r"the camera closed the connection|the stream broke"):
            list(frames)


def test_a_camera_that_is_off_is_lost_and_found_again(rtsp_server: RtspServer) -> None:
    rtsp_server.stop()
    with pytest.raises(SourceLostError, match="cannot connect: Connection refused"):
        open_source(rtsp_server.url(), QUICK)
    rtsp_server.start()
    with open_source(rtsp_server.url(), QUICK) as source:
        assert len(list(islice(source, 3))) == 3


def test_pictures_travel_over_udp_where_asked_for(rtsp_server: RtspServer) -> None:
    options = SourceOptions(open_timeout_s=2.0, stall_timeout_s=2.0, transport=Transport.UDP)
    with open_source(rtsp_server.url(), options) as source:
        frames = list(islice(source, 20))
    assert [read_number(frame.image, 320) for frame in frames] == list(range(20))


def test_another_resolution_in_mid_stream_goes_on_with_its_size(clip: Path) -> None:
    larger = encode_clip(clip, size=(640, 480))
    with RtspServer(encode_clip(clip)) as server, open_source(server.url(), QUICK) as source:
        frames = iter(source)
        assert {frame.source_size for frame in islice(frames, 10)} == {(320, 240)}
        server.clip = larger
        later = takewhile(lambda frame: frame.source_size == (320, 240), islice(frames, 200))
        assert all(read_number(frame.image, 320) < 100 for frame in later)
        picture = next(frames)
        assert (picture.source_size, picture.image.shape) == ((640, 480), (480, 640, 3))
    assert server.connections == 1


def test_the_time_of_a_frame_is_what_the_cameras_clock_said(rtsp_server: RtspServer) -> None:
    rtsp_server.clock_ahead_s = -1.0  # as if every frame had been a second on its way
    with open_source(rtsp_server.url(), QUICK) as source:
        frames = list(islice(source, 100))
        now = datetime.now(UTC)
    assert timedelta(seconds=0.95) < now - frames[-1].captured_at < timedelta(seconds=2)
    assert source.clock.ahead_s == pytest.approx(-1.0, abs=0.3)
    assert all(earlier.captured_at < later.captured_at for earlier, later in pairwise(frames))


@pytest.mark.parametrize("ahead_s", [100.0, -100.0])
def test_a_camera_clock_that_is_wrong_is_told_and_not_believed(
    rtsp_server: RtspServer, ahead_s: float
) -> None:
    rtsp_server.clock_ahead_s = ahead_s
    with open_source(rtsp_server.url(), QUICK) as source:
        frames = list(islice(source, 60))
        now = datetime.now(UTC)
    assert timedelta(0) <= now - frames[-1].captured_at < timedelta(seconds=0.5)
    assert source.clock.ahead_s == pytest.approx(ahead_s, abs=0.5)


def is_damaged(frame: SourceFrame) -> bool:
    try:
        return frame.image is None
    except CorruptFrameError:
        return True


@pytest.mark.parametrize("fault", [Fault.GARBAGE, Fault.MOSTLY_GARBAGE])
def test_garbage_gives_corrupt_frames_and_then_a_lost_camera(rtsp_server: RtspServer, fault: Fault) -> None:
    """Also if a picture can be made out now and then, as a decoder makes one of random bytes.

    Of random bytes few packets reach the decoder, and only with a packet can it be seen that no picture came:
    so a camera may take up to twice the stall time to be lost, from its last picture on.
    """
    judged: list[tuple[bool, float]] = []
    with open_source(rtsp_server.url(), QUICK) as source:
        frames = iter(source)
        list(islice(frames, 10))
        rtsp_server.fault = fault
        garbage_at = time.monotonic()
        with pytest.raises(SourceLostError, match="no decodable picture"):
            judged.extend((is_damaged(frame), time.monotonic()) for frame in frames)
    lost_at = time.monotonic()
    damaged = [is_bad for is_bad, _ in judged]
    pictures_at = [at for is_bad, at in judged if not is_bad and fault is Fault.GARBAGE]
    assert lost_at - max(pictures_at, default=garbage_at) < QUICK.stall_timeout_s + 1
    if fault is Fault.GARBAGE:
        assert damaged[-1]
    else:
        assert False in damaged[damaged.index(True) :], "no picture amid the garbage"


@pytest.mark.parametrize("digest", [False, True])
def test_a_login_is_given(clip: Path, digest: bool, monkeypatch) -> None:
    monkeypatch.setenv("GATE_PASSWORD", "p@ss/w:rd")
    with RtspServer(encode_clip(clip), users={"viewer": "p@ss/w:rd"}, digest=digest) as server:
        url = server.url("viewer", "${GATE_PASSWORD}")
        with open_source(url, QUICK) as source:
            assert len(list(islice(source, 2))) == 2


@pytest.mark.parametrize("digest", [False, True])
@pytest.mark.parametrize("login", [("viewer", "hush-hush"), (None, None)])
def test_a_wrong_login_is_refused_without_telling_the_password(
    clip: Path, digest: bool, login: tuple
) -> None:
    with (
        RtspServer(encode_clip(clip), users={"viewer": "right"}, digest=digest) as server,
        pytest.raises(SourceRefusedError, match="refused the user or password") as caught,
    ):
        open_source(server.url(*login), QUICK)
    assert "hush-hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_errors_show_the_reference_and_not_its_value(monkeypatch) -> None:
    monkeypatch.setenv("GATE_PASSWORD", "hush-hush")
    with pytest.raises(SourceLostError) as caught:
        open_source("rtsp://viewer:${GATE_PASSWORD}@127.0.0.1:9/stream", QUICK)
    assert str(caught.value).startswith("rtsp://viewer:${GATE_PASSWORD}@127.0.0.1:9/stream: cannot connect")


def test_a_url_without_a_host_can_never_work() -> None:
    with pytest.raises(SourceError, match=r"expected rtsp://\[USER:PASSWORD@\]HOST"):
        open_source("rtsp:///stream")
