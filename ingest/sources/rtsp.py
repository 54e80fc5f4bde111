"""RTSP cameras (RFC 2326) over TCP or UDP."""

import re

from core.errors import SourceError
from core.types import Transport
from ingest.sources.source import SourceOptions
from ingest.sources.streams import NetworkStream

_HOST = re.compile(r"rtsps?://[^/]+", re.IGNORECASE)
_DEMUXER_OPTIONS = {
    # Sound that goes on would hide a picture that stands still, and costs bandwidth.
    "allowed_media_types": "video",
    # By default FFmpeg watches a stream of 25 fps for 1.1 s to guess its rate, which nobody needs; so: 0.3 s.
    "fpsprobesize": "0",
    "analyzeduration": "1000000",
}
_TRANSPORT_OPTIONS = {
    Transport.TCP: {"rtsp_transport": "tcp"},
    # A keyframe of 1080p comes as a burst of 200 KB, which is about all that Linux keeps by default.
    Transport.UDP: {"rtsp_transport": "udp", "buffer_size": str(2 * 1024 * 1024)},
}


def open_rtsp(url: str, options: SourceOptions) -> NetworkStream:
    """Connects to a camera. Raises SourceError for a URL without a host, SourceLostError for the rest."""
    if not _HOST.match(url):
        raise SourceError(f"expected rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH, got {options.shown_as}")
    return NetworkStream(url, options, _DEMUXER_OPTIONS | _TRANSPORT_OPTIONS[options.transport])
