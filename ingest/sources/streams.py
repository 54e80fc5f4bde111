"""Live network streams through FFmpeg's libraries: what RTSP, RTMP and HLS have in common."""

import time
from collections.abc import Iterator, Mapping
from functools import partial

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.errors import SourceLostError, SourceRefusedError
from core.types import from_microseconds
from ingest.sources.decoding import PictureMaker, open_container, stream_format, undecodable
from ingest.sources.keyframes import KeyframeChoice
from ingest.sources.source import FrameSource, SourceFormat, SourceFrame, SourceOptions
from ingest.timestamps import LiveTimeline, to_media_microseconds


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
        self._stall_timeout_s = stall_timeout_s or options.stall_timeout_s
        self._pictures = PictureMaker(options.max_side)
        self._keyframes = KeyframeChoice(options.fps, options.keyframes_only)
        self._container = self._open(url, demuxer_options)
        if not self._container.streams.video or self._container.streams.video[0].codec_context is None:
            self._container.close()
            raise SourceLostError(f"{self._name}: expected a video stream, got none that decodes")
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1
        self._format = stream_format(self._stream)  # now: PyAV crashes when asked after closing

    def _open(self, url: str, demuxer_options: Mapping[str, str]) -> InputContainer:
        limits_s = (self._options.open_timeout_s, self._stall_timeout_s)
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

    def __iter__(self) -> Iterator[SourceFrame]:
        timeline = LiveTimeline()
        last_frame_at = time.monotonic()
        for packet in self._packets():
            arrival_us = self._options.clock.now_us()
            if packet.is_keyframe:
                self._keyframes.follow(_packet_time_s(packet, arrival_us))
            elif self._keyframes.active:
                yield SourceFrame.left_out(from_microseconds(arrival_us))
                self._check_progress(last_frame_at)
                continue
            damaged, frames = self._decode(packet)
            for frame in frames:
                media_us = to_media_microseconds(frame.pts, frame.time_base)
                moment_us = timeline.capture_time_us(media_us, arrival_us)
                yield SourceFrame(from_microseconds(moment_us), partial(self._pictures.make, frame))
            if damaged:
                moment_us = timeline.capture_time_us(None, arrival_us)
                yield SourceFrame(from_microseconds(moment_us), undecodable)
            if frames:
                last_frame_at = time.monotonic()
            else:
                self._check_progress(last_frame_at)

    def _check_progress(self, last_frame_at: float) -> None:
        """Raises SourceLostError for a camera that has been sending only what cannot be decoded."""
        silent_s = time.monotonic() - last_frame_at
        if silent_s > self._stall_timeout_s + self._keyframes.patience_s:
            raise SourceLostError(f"{self._name}: no decodable picture for {silent_s:.1f} s")

    def _packets(self) -> Iterator["Packet[VideoStream]"]:
        """The packets until the stream ends or stands still, which raises SourceLostError.

        PyAV's first time-out may hand out a packet that FFmpeg had kept back, and only its second one raises:
        so the wait for each packet is measured here as well.
        """
        limit_s = self._stall_timeout_s
        packets = self._container.demux(self._stream)
        while True:
            asked_at = time.monotonic()
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.FFmpegError, OSError) as error:
                if time.monotonic() - asked_at < 0.9 * limit_s:
                    raise SourceLostError(f"{self._name}: the stream broke: {error.strerror}") from None
                raise SourceLostError(f"{self._name}: nothing came for {limit_s:g} s") from None
            if packet.size:
                yield packet
            if time.monotonic() - asked_at >= limit_s:
                raise SourceLostError(f"{self._name}: nothing came for {limit_s:g} s")
        raise SourceLostError(f"{self._name}: the camera closed the connection")

    def _decode(self, packet: "Packet[VideoStream]") -> tuple[bool, list[VideoFrame]]:
        """(whether the packet is damaged, the frames that it completed)."""
        try:
            frames = self._stream.decode(packet)
            if self._keyframes.active:  # else a stream with B-frames gives each one with the next but one
                frames += self._stream.decode(None)
                self._stream.codec_context.flush_buffers()
        except av.FFmpegError:
            return True, []
        return False, frames

    def close(self) -> None:
        self._container.close()


def _packet_time_s(packet: "Packet[VideoStream]", arrival_us: int) -> float:
    media_us = to_media_microseconds(packet.pts if packet.pts is not None else packet.dts, packet.time_base)
    return (arrival_us if media_us is None else media_us) / 1e6
