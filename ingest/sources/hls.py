"""HLS (RFC 8216): a playlist over HTTP whose newest pieces of a few seconds are read one after the other."""

import re

from ingest.sources.source import SourceOptions
from ingest.sources.streams import NetworkStream

_PLAYLIST = re.compile(r"https?://[^?#]+\.m3u8?([?#]|$)", re.IGNORECASE)
CONTENT_TYPES = ("application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl")
_DEMUXER_OPTIONS = {
    # A playlist names further addresses; none of them may be a file of this machine.
    "protocol_whitelist": "http,https,tcp,tls,crypto",
    "allowed_extensions": "ALL",
    "live_start_index": "-1",
    "analyzeduration": "2000000",
}
_LONGEST_PIECE_S = 10.0
"""Pieces come as a whole; servers make them 1 to 10 s long."""


def is_playlist(url: str) -> bool:
    """Whether a URL looks like a playlist."""
    return _PLAYLIST.match(url) is not None


def open_hls(url: str, options: SourceOptions) -> NetworkStream:
    """Connects to the newest piece. Raises SourceLostError."""
    stall_timeout_s = options.stall_timeout_s + _LONGEST_PIECE_S
    return NetworkStream(url, options, _DEMUXER_OPTIONS, stall_timeout_s)
