"""RTMP streams, as media servers and action cameras offer them."""

import re

from core.errors import SourceError
from ingest.sources.source import SourceOptions
from ingest.sources.streams import NetworkStream

_HOST = re.compile(r"rtmps?://[^/]+/.", re.IGNORECASE)
_DEMUXER_OPTIONS = {
    "rtmp_live": "live",
    # FLV's header promises sound and pictures that may never come; by default FFmpeg waits 5 s for each.
    "analyzeduration": "2000000",
    "fpsprobesize": "0",
}


def open_rtmp(url: str, options: SourceOptions) -> NetworkStream:
    """Connects. Raises SourceError for a URL without host or path, SourceLostError for the rest."""
    if not _HOST.match(url):
        raise SourceError(f"expected rtmp://[USER:PASSWORD@]HOST[:PORT]/APP/STREAM, got {options.shown_as}")
    return NetworkStream(url, options, _DEMUXER_OPTIONS)
