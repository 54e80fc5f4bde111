"""Telling a recording that was cut off from one that simply ends."""

import re
from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from ingest.sources.decoding import frame_rate

_DURATION_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_SLACK = Fraction(1, 50)
_SLACK_FRAMES = 2
"""Headers of good files are off by a frame or two (edit lists, repeated frames)."""


class Completeness:
    """Compares what a container promises with the packets that came.

    A damaged last packet, or an end that lies 2 % and two frames before the promised one, means that the file
    was cut off. Containers that promise nothing (MPEG-TS) cannot be told.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.frames = 0
        """Packets of video so far."""
        self._rate = frame_rate(stream)
        self._promised = promised_frames(container, stream)
        self._first_time: Fraction | None = None
        self._end_time = Fraction(0)
        self._last_damaged = False

    def follow(self, packet: "Packet[VideoStream]") -> None:
        """Counts one packet; the empty one that flushes the decoder does not count."""
        if not packet.size:
            return
        self.frames += 1
        self._last_damaged = packet.is_corrupt
        if packet.pts is not None and packet.time_base is not None:
            moment = packet.pts * packet.time_base
            self._first_time = moment if self._first_time is None else min(self._first_time, moment)
            self._end_time = max(self._end_time, moment)

    @property
    def promise(self) -> str:
        """What the container promised, for people."""
        return f"about {self._promised} frames" if self._promised else "a whole recording"

    @property
    def cut_off(self) -> bool:
        """Whether frames are missing at the end."""
        if self._last_damaged:
            return True
        if self._promised is None:
            return False
        enough = self._promised - max(Fraction(_SLACK_FRAMES), self._promised * _SLACK)
        seen_s = self._end_time - (self._first_time or 0)
        return self.frames < enough and seen_s * self._rate + 1 < enough


def promised_frames(container: InputContainer, stream: VideoStream) -> int | None:
    """How many frames a container says it has; None where it does not say."""
    rate = frame_rate(stream)
    if stream.frames:
        return int(stream.frames)
    tag = _DURATION_TAG.match(stream.metadata.get("DURATION", ""))  # Matroska
    if tag:
        return int((int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])) * rate)
    if "matroska" in container.format.name and container.duration and len(container.streams) == 1:
        return int(Fraction(container.duration, 1_000_000) * rate)
    return None
