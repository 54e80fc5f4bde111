"""An HLS camera for tests: a clip cut into pieces of a second, with a playlist that moves on (RFC 8216)."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av

PIECES_SHOWN = 3


def cut_clip(clip: Path, folder: Path) -> list[bytes]:
    """The clip's H.264 as MPEG-TS pieces that begin with a keyframe each."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"hls_time": "0.9", "hls_list_size": "0", "hls_segment_filename": str(folder / "%03d.ts")}
    with av.open(str(clip)) as source, av.open(str(folder / "all.m3u8"), "w", "hls", options=options) as cut:
        given = source.streams.video[0]
        stream = cut.add_stream_from_template(given)
        for packet in source.demux(given):
            if packet.size:
                packet.stream = stream
                cut.mux(packet)
    return [piece.read_bytes() for piece in sorted(folder.glob("*.ts"))]


class HlsServer:
    """Publishes a piece per second at /live.m3u8, and under /live without a telling name."""

    def __init__(self, pieces: list[bytes], login: str | None = None) -> None:
        self.pieces = pieces
        self.frozen = threading.Event()
        self.piece_name = "{}.ts"
        self._login = login
        self._started_at = time.monotonic()
        self._newest = PIECES_SHOWN
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def url(self, path: str = "/live.m3u8", login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self._server.server_address[1]}{path}"

    def __enter__(self) -> "HlsServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.rpartition("/")[2]
        if self._login is not None and request.headers.get("Authorization") != self._login:
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="hls"')
            request.end_headers()
        elif name.startswith("live"):
            self._send(request, "application/vnd.apple.mpegurl", self._playlist().encode())
        else:
            number = int(name.partition(".")[0])
            self._send(request, "video/mp2t", self.pieces[number % len(self.pieces)])

    def _playlist(self) -> str:
        """The newest pieces; no new one comes while the server is frozen."""
        if not self.frozen.is_set():
            self._newest = int(time.monotonic() - self._started_at) + PIECES_SHOWN
        first = self._newest - PIECES_SHOWN
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        for number in range(first, self._newest):
            if number % len(self.pieces) == 0:
                lines.append("#EXT-X-DISCONTINUITY")
            lines += ["#EXTINF:1.0,", self.piece_name.format(number)]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, kind: str, body: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
