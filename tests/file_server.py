"""A real HTTP server of one file on this machine, which can break off, fall silent, and not know ranges."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `content` at every path, and remembers the ranges that it was asked for."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.knows_ranges = True
        self.breaks_after: int | None = None
        """Bytes after which a connection ends."""
        self.speaks = threading.Event()
        """Until it is set, connections are taken and nothing is sent."""
        self.speaks.set()
        self.status = 200
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.pth"


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server = self.server
        server.speaks.wait(10)
        server.asked.append(asked := self.headers["Range"])
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.knows_ranges else 0
        if server.status != 200:
            self.send_error(server.status)
        elif start >= len(server.content):
            self.send_error(416)
        else:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(server.content) - start))
            self.end_headers()
            end = len(server.content) if server.breaks_after is None else start + server.breaks_after
            self.wfile.write(server.content[start:end])

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """The server, answering in the background."""
    with FileServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
