"""What a camera offers over HTTP: an HLS playlist, by its name or by the type it says, else MJPEG."""

from ingest.sources.hls import CONTENT_TYPES, is_playlist, open_hls
from ingest.sources.mjpeg import MjpegStream, OtherContentError
from ingest.sources.source import FrameSource, SourceOptions


def open_http(url: str, options: SourceOptions) -> FrameSource:
    """Connects. Raises SourceError for what is neither, SourceLostError for what does not answer now."""
    if is_playlist(url):
        return open_hls(url, options)
    try:
        return MjpegStream(url, options)
    except OtherContentError as other:
        if other.content_type not in CONTENT_TYPES:
            raise
    return open_hls(url, options)
