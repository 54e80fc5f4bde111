"""The decoder of one video stream: on the graphics card where that is wanted and works, else on the CPU."""

import logging

import av
from av.codec import hwaccel
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ingest.sources.source import SourceOptions

LOG = logging.getLogger(__name__)
_MOST_FAILURES = 5
"""So many packets in a row that a graphics card refuses are its own fault, not the stream's."""


class StreamDecoder:
    """Decodes the packets of a stream in their order, or its keyframes alone.

    Keyframes alone are decoded by a decoder of their own without the deblocking filter: that saves a seventh
    of their cost, no later frame inherits the difference, and in a picture that is shrunk to a third it is
    below what JPEG does (45 dB PSNR).
    """

    def __init__(self, stream: VideoStream, options: SourceOptions, threads: int = 1) -> None:
        """`threads` decode on the CPU; a live camera needs but one, and more would add delay."""
        self._stream, self._options = stream, options
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "AUTO" if threads > 1 else "SLICE"
        self._context = self._accelerated(options.hwaccel) if options.hwaccel else stream.codec_context
        self._keyframes: VideoCodecContext | None = None
        self._failures = 0

    def decode(self, packet: "Packet[VideoStream]") -> list[VideoFrame]:
        """The frames that a packet completes. Raises av.FFmpegError for a damaged one."""
        self._keyframes = None
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError:
            self._note_failure()
            raise
        self._failures = 0
        return frames

    def decode_keyframe(self, packet: "Packet[VideoStream]") -> list[VideoFrame]:
        """The frame of a keyframe's packet, at once. Raises av.FFmpegError for a damaged one."""
        if self._context.is_hwaccel:
            return self._whole(self._context, packet)
        held: list[VideoFrame] = []
        if self._keyframes is None:
            held = self._whole(self._context, None)
            self._keyframes = self._new_context()
            self._keyframes.thread_count = 1
            self._keyframes.options = {"skip_loop_filter": "all"} if self._shrinks else {}
        return held + self._whole(self._keyframes, packet)

    def _whole(self, context: VideoCodecContext, packet: "Packet[VideoStream] | None") -> list[VideoFrame]:
        """The frame of a packet and what the decoder had kept back: with B-frames, each comes two later."""
        try:
            frames = context.decode(packet) if packet is not None else []
            frames += context.decode(None)
        finally:
            context.flush_buffers()
        for frame in frames:
            frame.time_base = frame.time_base or self._stream.time_base
        return frames

    @property
    def _codec(self) -> str:
        return self._stream.codec_context.name

    @property
    def _shrinks(self) -> bool:
        side, said = self._options.max_side, self._stream.codec_context
        return side is not None and max(said.width, said.height) >= 2 * side

    def _new_context(self, wanted: hwaccel.HWAccel | None = None) -> VideoCodecContext:
        said = self._stream.codec_context
        context = av.CodecContext.create(self._codec, "r", hwaccel=wanted)
        assert isinstance(context, VideoCodecContext), "the codec of a video stream"
        if said.extradata:
            context.extradata = said.extradata
        if said.width and said.height:
            context.width, context.height = said.width, said.height
        return context

    def _accelerated(self, way: str) -> VideoCodecContext:
        """A decoder on the graphics card; one on the CPU where there is no such way."""
        known = hwaccel.hwdevices_available()
        try:
            if way not in known:
                raise ValueError(f"expected one of {', '.join(known)}")
            wanted = hwaccel.HWAccel(way, allow_software_fallback=True)
            context = self._new_context(wanted)
            if not context.is_hwaccel:
                raise ValueError(f"no {self._codec} decoder here works with it")
        except (av.FFmpegError, OSError, ValueError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            LOG.warning("%s: hwaccel %s: %s; decoding on the CPU", self._options.shown_as, way, reason)
            return self._stream.codec_context
        return context

    def _note_failure(self) -> None:
        self._failures += 1
        if self._context.is_hwaccel and self._failures >= _MOST_FAILURES:
            LOG.warning(
                "%s: hwaccel %s failed %d times in a row; decoding on the CPU",
                self._options.shown_as,
                self._options.hwaccel,
                self._failures,
            )
            self._context, self._failures = self._stream.codec_context, 0
