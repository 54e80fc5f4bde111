"""Where and how packets are decoded."""

import logging
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.codec import hwaccel

from ingest.sources import open_source
from ingest.sources.decoding import PictureMaker
from ingest.sources.source import SourceOptions
from ingest.sources.stream_decoder import StreamDecoder
from tests.clips import read_number
from tests.rtsp_server import RtspServer


@pytest.mark.parametrize("way", [*hwaccel.hwdevices_available(), "nonsense"])
def test_hardware_that_is_not_there_falls_back_to_the_cpu_and_says_so(
    way: str, rtsp_server: RtspServer, caplog
) -> None:
    with open_source(rtsp_server.url(), SourceOptions(hwaccel=way)) as source:
        if source._decoder._context.is_hwaccel:
            pytest.skip(f"this machine decodes with {way}")
        frames = list(islice(source, 10))
    assert [read_number(frame.image, 320) for frame in frames] == list(range(10))
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"hwaccel {way}: " in line.message
    assert line.message.endswith("; decoding on the CPU")


class FailingCard:
    """A graphics card whose driver refuses every packet."""

    is_hwaccel = True

    def decode(self, packet: object) -> list:
        raise av.error.InvalidDataError(1, "the driver is broken")

    def flush_buffers(self) -> None:
        pass


def test_hardware_that_fails_in_mid_stream_is_given_up(gop_clip: Path, caplog) -> None:
    with av.open(str(gop_clip)) as container:
        decoder = StreamDecoder(container.streams.video[0], SourceOptions(hwaccel=None))
        decoder._context, refused, frames = FailingCard(), 0, []
        for packet in container.demux(video=0):
            try:
                frames += decoder.decode(packet)
            except av.FFmpegError:
                refused += 1
    assert refused >= 5
    assert len(frames) == 125, "from the next keyframe on"
    assert "failed 5 times in a row; decoding on the CPU" in caplog.text


def test_a_video_file_falls_back_as_well(clip: Path, caplog) -> None:
    with open_source(str(clip), SourceOptions(hwaccel="nonsense")) as source:
        assert len(list(source)) == 100
    assert "decoding on the CPU" in caplog.text


def test_keyframes_without_deblocking_look_the_same_once_shrunk(street_clip: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    with av.open(str(street_clip)) as source, av.open(str(large), "w") as target:
        stream = target.add_stream("libx264", rate=10, options={"preset": "ultrafast", "crf": "28"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1440, "yuv420p"
        frame = next(source.decode(video=0)).reformat(1920, 1440, "yuv420p")
        frame.pts = 0
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    options, pictures = SourceOptions(max_side=640), PictureMaker(640)
    with av.open(str(large)) as container:
        stream = container.streams.video[0]
        decoder = StreamDecoder(stream, options)
        packet = next(container.demux(stream))
        (quick,) = decoder.decode_keyframe(packet)
        (whole,) = decoder.decode(packet) + decoder.decode(av.Packet())
    assert cv2.PSNR(pictures.make(quick).image, pictures.make(whole).image) > 40


def test_frames_that_the_decoder_kept_back_come_before_the_keyframes(tmp_path: Path) -> None:
    clip = tmp_path / "b-frames.mp4"
    with av.open(str(clip), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"bf": "2", "g": "10", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(40):
            image = np.full((240, 320, 3), number, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        output.mux(stream.encode())
    with av.open(str(clip)) as container:
        decoder = StreamDecoder(container.streams.video[0], SourceOptions())
        packets = [packet for packet in container.demux(video=0) if packet.size]
        frames = [frame for packet in packets[:15] for frame in decoder.decode(packet)]
        assert len(frames) < 15, "the clip has B-frames"
        for packet in packets[15:]:
            if packet.is_keyframe:
                frames += decoder.decode_keyframe(packet)
        times = [frame.time for frame in frames]
    assert None not in times
    assert times == sorted(times)
    assert [round(10 * time) for time in times[-2:]] == [20, 30]
    assert len(frames) == 17
