"""An MJPEG camera for tests: pictures over HTTP as multipart/x-mixed-replace, with logins and faults."""

import base64
import hashlib
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import parse_http_list, parse_keqv_list

_REALM, _NONCE = "framewatch-tests", "5ca1ab1e"


class MjpegServer:
    """Serves the same JPEG pictures over and over at /stream; a context manager that runs in threads."""

    def __init__(
        self,
        pictures: Sequence[bytes],
        fps: float = 25,
        *,
        login: tuple[str, str] | None = None,
        digest: bool = False,
        with_length: bool = True,
        moved_to: str = "/stream",
    ) -> None:
        self.pictures, self.fps, self.login, self.digest = pictures, fps, login, digest
        self.with_length, self.moved_to = with_length, moved_to
        self.frozen = threading.Event()
        self.stopped = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def url(self, path: str = "/stream", login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self._server.server_address[1]}{path}"

    def __enter__(self) -> "MjpegServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path.startswith("/moved"):
            request.send_response(302)
            request.send_header("Location", self.moved_to)
            request.end_headers()
        elif not self._allows(request.headers.get("Authorization")):
            kind = f'Digest realm="{_REALM}", nonce="{_NONCE}", qop="auth"'
            request.send_response(401)
            request.send_header("WWW-Authenticate", kind if self.digest else f'Basic realm="{_REALM}"')
            request.end_headers()
        elif request.path.startswith("/page"):
            request.send_response(200)
            request.send_header("Content-Type", "text/html")
            request.end_headers()
            request.wfile.write(b"<h1>Log in</h1>")
        else:
            self._stream(request)

    def _stream(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        number = 0
        while not self.stopped.is_set():
            jpeg = self.pictures[number % len(self.pictures)]
            length = f"Content-Length: {len(jpeg)}\r\n" if self.with_length else ""
            try:
                request.wfile.write(
                    f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + jpeg + b"\r\n"
                )
            except OSError:
                return
            number += 1
            time.sleep(1 / self.fps)  # the camera's own pace, not a wait of the test
            while self.frozen.is_set() and not self.stopped.is_set():
                time.sleep(0.02)

    def _allows(self, authorization: str | None) -> bool:
        if self.login is None:
            return True
        if authorization is None:
            return False
        kind, _, value = authorization.partition(" ")
        user, password = self.login
        if not self.digest:
            return kind == "Basic" and base64.b64decode(value).decode() == f"{user}:{password}"
        given = parse_keqv_list(parse_http_list(value))
        who, what = _md5(f"{user}:{_REALM}:{password}"), _md5(f"GET:{given['uri']}")
        expected = _md5(f"{who}:{_NONCE}:{given['nc']}:{given['cnonce']}:auth:{what}")
        return given["username"] == user and given["response"] == expected


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
