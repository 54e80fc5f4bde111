"""What an RTSP camera's own clock says: the times in its RTCP sender reports (RFC 3550, section 6.4.1)."""

import struct

from av.packet import Packet
from av.video.stream import VideoStream

from ingest.timestamps import to_media_microseconds

_WALL_CLOCK = struct.Struct("=q")


class SenderClock:
    """Maps stream time to the camera's clock, by the newest sender report.

    FFmpeg gives each packet after the first report the time that the camera's clock showed then
    (AVProducerReferenceTime, whose first field is microseconds since 1970).
    """

    def __init__(self) -> None:
        self._offset_us: int | None = None

    def follow(self, packet: "Packet[VideoStream]") -> None:
        """Notes what a packet says about the camera's clock."""
        if not packet.has_sidedata("prft"):
            return
        media_us = to_media_microseconds(packet.pts, packet.time_base)
        data = bytes(packet.get_sidedata("prft"))
        if media_us is not None and len(data) >= _WALL_CLOCK.size:
            self._offset_us = _WALL_CLOCK.unpack_from(data)[0] - media_us

    def time_us(self, media_us: int | None) -> int | None:
        """The camera's clock at a stream time, in microseconds since 1970; None before the first report."""
        return None if media_us is None or self._offset_us is None else media_us + self._offset_us
