"""Video files: every container and codec that FFmpeg's libraries read."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.errors import SourceError
from core.types import from_microseconds, to_microseconds
from ingest.sources.completeness import Completeness, promised_frames
from ingest.sources.decoding import PictureMaker, frame_rate, open_container, stream_format
from ingest.sources.keyframes import KeyframeChoice
from ingest.sources.source import FrameSource, SourceFormat, SourceFrame, SourceOptions
from ingest.sources.stream_decoder import StreamDecoder
from ingest.timestamps import RecordedTimeline, to_media_microseconds

# Playlists and concatenations inside a file must not make us open anything else.
_DEMUXER_OPTIONS = {"protocol_whitelist": "file"}
_DECODER_THREADS = 4
_FIRST_PLAUSIBLE_YEAR = 1990
"""Recorders without a clock write 1904 or 1970."""


class VideoFile(FrameSource):
    """Every frame of a recording, timed from its `creation_time`, else from the file's modification time."""

    recorded = True

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self._path = path
        self._pictures = PictureMaker(options.max_side)
        self._keyframes = KeyframeChoice()
        self._container = _open(path)
        try:
            self._stream = _video_stream(self._container, path)
        except SourceError:
            self._container.close()
            raise
        self._decoder = StreamDecoder(self._stream, options, _DECODER_THREADS)
        self._format = stream_format(self._stream)  # now: PyAV crashes when asked after closing

    @property
    def format(self) -> SourceFormat:
        said = stream_format(self._stream)
        return replace(said, frames=said.frames or promised_frames(self._container, self._stream))

    @property
    def keyframes(self) -> KeyframeChoice:
        return self._keyframes

    @property
    def starts_at(self) -> datetime:
        """When the recording began: what its container says, else the modification time of the file."""
        for metadata in (self._container.metadata, self._stream.metadata):
            said = _read_time(metadata.get("creation_time", ""))
            if said is not None:
                return said
        return from_microseconds(self._path.stat().st_mtime_ns // 1000)

    def __iter__(self) -> Iterator[SourceFrame]:
        timeline = RecordedTimeline(to_microseconds(self.starts_at), 1 / frame_rate(self._stream))
        progress = Completeness(self._container, self._stream)
        reading_failed = False
        try:
            for packet in self._container.demux(self._stream):
                progress.follow(packet)
                yield from self._decode(packet, timeline)
        except av.FFmpegError:
            reading_failed = True
        if reading_failed or progress.cut_off:
            raise SourceError(
                f"{self._path}: expected {progress.promise}, got a file cut off after frame "
                f"{progress.frames} (the frames before it count)"
            )

    def _decode(self, packet: "Packet[VideoStream]", timeline: RecordedTimeline) -> Iterator[SourceFrame]:
        frames: list[VideoFrame] = []
        damaged = packet.is_corrupt
        if not damaged:
            try:
                frames = self._decoder.decode(packet)
            except av.FFmpegError:
                damaged = True
        if damaged:
            yield SourceFrame.damaged(from_microseconds(timeline.capture_time_us(None)))
        for frame in frames:
            moment_us = timeline.capture_time_us(to_media_microseconds(frame.pts, frame.time_base))
            if frame.key_frame:
                self._keyframes.follow(moment_us / 1e6)
            yield SourceFrame(from_microseconds(moment_us), partial(self._pictures.make, frame))

    def close(self) -> None:
        self._container.close()


def _open(path: Path) -> InputContainer:
    try:
        # A relative name such as 12:30.mp4 would read as a protocol of FFmpeg's.
        return open_container(f"file:{path}", _DEMUXER_OPTIONS)
    except (av.error.PermissionError, av.error.IsADirectoryError) as error:
        raise SourceError(f"{path}: expected a readable video, got: {error.strerror}") from None
    except av.FFmpegError:
        raise SourceError(f"{path}: expected a video, got {_describe(path)}") from None


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        kinds = sorted({stream.type for stream in container.streams})
        raise SourceError(
            f"{path}: expected a video, got a file with {' and '.join(kinds) or 'nothing'} only"
        )
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise SourceError(f"{path}: expected a video in a known codec, got one that has no decoder here")
    return stream


def _describe(path: Path) -> str:
    """What an unreadable file looks like."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        return "an empty file"
    if head[4:8] == b"ftyp":
        return "an MP4 without its index: the recording was cut off before its end was written"
    with suppress(UnicodeDecodeError):
        if head[:4000].decode().isprintable() or b"\0" not in head:
            return "a text file"
    return "a file of another kind"


def _read_time(text: str) -> datetime | None:
    """ISO 8601 time as aware UTC; None when there is none or no clock was set."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment if moment.year >= _FIRST_PLAUSIBLE_YEAR else None
