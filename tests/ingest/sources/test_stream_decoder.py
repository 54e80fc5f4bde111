"""Where and how packets are decoded."""

import logging
from itertools import islice
from pathlib import Path

import av
import cv2
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
