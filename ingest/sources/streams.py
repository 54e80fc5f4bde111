"""Live network streams through FFmpeg's libraries: what RTSP, RTMP and HLS have in common."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.errors import SourceLostError, SourceRefusedError
from core.types import from_microseconds
from ingest.sources.decoding import PictureMaker, open_container, stream_format
from ingest.sources.keyframes import KeyframeChoice
from ingest.sources.sender_clock import SenderClock
from ingest.sources.source import FrameSource, SourceFormat, SourceFrame, SourceOptions
from ingest.sources.stream_decoder import StreamDecoder
from ingest.timestamps import ClockReport, LiveTimeline, to_media_microseconds

MOST_REFUSED = 2
"""So many good pictures tell that a camera is back, however many packets were refused before."""


class NetworkStream(FrameSource):
    """A camera's video stream; one decoding thread, as every camera has a process of its own."""

    recorded = False

    def __init__(
        self,
        url: str,
        options: SourceOptions,
        demuxer_options: Mapping[str, str],
        stall_timeout_s: float | None = None,
    ) -> None:
        """Connects. `stall_timeout_s` is for streams that come in pieces; else that of the options holds.

        Raises SourceLostError, and SourceRefusedError for a wrong login.
        """
        self._name = options.shown_as
        self._options = options
        self.stall_timeout_s = stall_timeout_s or options.stall_timeout_s
        self._pictures = PictureMaker(options.max_side)
        self._keyframes = KeyframeChoice(options.fps, options.keyframes_only)
        self._timeline, self._sender = LiveTimeline(), SenderClock()
        self._refused = 0
        """Packets that the decoder refused lately, MOST_REFUSED at most; a good picture takes one off."""
        self._progress_at = time.monotonic()
        """When the last good picture came; later by all the time that was spent with frames since."""
        self._container = self._open(url, demuxer_options)
        if not self._container.streams.video or self._container.streams.video[0].codec_context is None:
            self._container.close()
            raise SourceLostError(f"{self._name}: expected a video stream, got none that decodes")
        self._stream = self._container.streams.video[0]
        self._decoder = StreamDecoder(self._stream, options)
        self._format = stream_format(self._stream)  # now: PyAV crashes when asked after closing

    def _open(self, url: str, demuxer_options: Mapping[str, str]) -> InputContainer:
        limits_s = (self._options.open_timeout_s, self.stall_timeout_s)
        asked_at = time.monotonic()
        try:
            return open_container(url, demuxer_options, limits_s)
        except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError) as error:
            raise SourceRefusedError(
                f"{self._name}: the camera refused the user or password ({error.strerror})"
            ) from None
        except (av.FFmpegError, OSError, ValueError) as error:
            # FFmpeg's error names the URL with its password, and calls a time-out "invalid data".
            if time.monotonic() - asked_at >= self._options.open_timeout_s:
                raise SourceLostError(
                    f"{self._name}: no answer within {self._options.open_timeout_s:g} s"
                ) from None
            reason = error.strerror if isinstance(error, OSError | av.FFmpegError) else "an unusable answer"
            raise SourceLostError(f"{self._name}: cannot connect: {reason}") from None

    @property
    def format(self) -> SourceFormat:
        return self._format

    @property
    def clock(self) -> ClockReport:
        return self._timeline.report

    @property
    def keyframes(self) -> KeyframeChoice:
        return self._keyframes

    def __iter__(self) -> Iterator[SourceFrame]:
        self._progress_at = time.monotonic()
        for frame in self._frames():
            handed_at = time.monotonic()
            yield frame
            # What our reader takes is no silence of the camera.
            self._progress_at += time.monotonic() - handed_at

    def _frames(self) -> Iterator[SourceFrame]:
        for packet in self._packets():
            arrival_us = self._options.clock.now_us()
            if packet.is_keyframe:
                self._keyframes.follow(_packet_time_s(packet, arrival_us))
            elif self._keyframes.active:
                yield SourceFrame.left_out(from_microseconds(arrival_us))
                self._check_progress()
                continue
            self._sender.follow(packet)
            damaged, frames = self._decode(packet)
            for frame in frames:
                yield SourceFrame(self._captured_at(frame, arrival_us), partial(self._pictures.make, frame))
            if damaged:
                yield SourceFrame.damaged(self._captured_at(None, arrival_us))
            if frames and not self._refused:
                self._progress_at = time.monotonic()
            else:
                self._check_progress()

    def _captured_at(self, frame: VideoFrame | None, arrival_us: int) -> datetime:
        media_us = None if frame is None else to_media_microseconds(frame.pts, frame.time_base)
        sender_us = self._sender.time_us(media_us)
        return from_microseconds(self._timeline.capture_time_us(media_us, arrival_us, sender_us))

    def _check_progress(self) -> None:
        """Raises SourceLostError for a camera that has been sending only what cannot be decoded."""
        silent_s = time.monotonic() - self._progress_at
        if silent_s > self.stall_timeout_s + self._keyframes.patience_s:
            raise SourceLostError(f"{self._name}: no decodable picture for {silent_s:.1f} s")

    def _packets(self) -> Iterator["Packet[VideoStream]"]:
        """The video's packets until the stream ends or stands still, which raises SourceLostError.

        PyAV's first time-out may hand out a packet that FFmpeg had kept back, and only its second one raises:
        so the wait for each packet is measured here as well, and sound that goes on does not count.
        """
        limit_s = self.stall_timeout_s
        packets = self._container.demux()
        asked_at = time.monotonic()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.FFmpegError, OSError) as error:
                if time.monotonic() - asked_at < 0.9 * limit_s:
                    raise SourceLostError(f"{self._name}: the stream broke: {error.strerror}") from None
                raise SourceLostError(f"{self._name}: nothing came for {limit_s:g} s") from None
            is_late = time.monotonic() - asked_at >= limit_s
            if packet.size and packet.stream_index == self._stream.index:
                yield cast("Packet[VideoStream]", packet)
                asked_at = time.monotonic()
            if is_late:
                raise SourceLostError(f"{self._name}: nothing came for {limit_s:g} s")
        raise SourceLostError(f"{self._name}: the camera closed the connection")

    def _decode(self, packet: "Packet[VideoStream]") -> tuple[bool, list[VideoFrame]]:
        """(whether the packet is damaged, the frames that it completed).

        Of random bytes a decoder takes one packet in a hundred for a picture, with errors or without. Amid
        packets that it refuses, one with errors is none (elsewhere it is one: streams without keyframes give
        no others), and one without is no sign yet that the camera is back.
        """
        decode = self._decoder.decode_keyframe if self._keyframes.active else self._decoder.decode
        try:
            frames = decode(packet)
        except av.FFmpegError:
            self._refused = min(self._refused + 1, MOST_REFUSED)
            return True, []
        if self._refused and all(frame.is_corrupt for frame in frames):
            return bool(frames), []
        self._refused = max(0, self._refused - 1)
        return False, frames

    def close(self) -> None:
        self._container.close()


def _packet_time_s(packet: "Packet[VideoStream]", arrival_us: int) -> float:
    media_us = to_media_microseconds(packet.pts if packet.pts is not None else packet.dts, packet.time_base)
    return (arrival_us if media_us is None else media_us) / 1e6
