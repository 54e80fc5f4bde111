"""MJPEG over HTTP: `multipart/x-mixed-replace` (RFC 2046, section 5.1) with a JPEG per part.

Read here instead of by FFmpeg, because a frame that sampling leaves out then costs no decoding at all.
"""

import http.client
import socket
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NoReturn
from urllib.parse import SplitResult, quote, unquote, urljoin

import numpy as np

from core.errors import SourceError, SourceLostError, SourceRefusedError
from core.types import from_microseconds
from core.urls import split_url
from ingest.sources.http_login import Login
from ingest.sources.images import decode_picture
from ingest.sources.source import FrameSource, SourceFormat, SourceFrame, SourceOptions
from ingest.timestamps import LiveTimeline

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REQUESTS = 5
_MOST_PART_BYTES = 32 * 1024 * 1024
_MOST_LINE_BYTES = 16 * 1024
_START_OF_JPEG, _START_OF_SCAN, _END_OF_JPEG = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class _Connection:
    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse
    socket: socket.socket

    def close(self) -> None:
        self.response.close()
        self.connection.close()


class OtherContentError(SourceLostError):
    """The address answers, but with something else than MJPEG, be it only while the camera starts."""

    def __init__(self, name: str, content_type: str) -> None:
        super().__init__(
            f"{name}: expected multipart/x-mixed-replace (MJPEG) or an HLS playlist, got {content_type}"
        )
        self.content_type = content_type


class MjpegStream(FrameSource):
    """A camera's stream of JPEG pictures; each was captured when it arrived."""

    recorded = False

    def __init__(self, url: str, options: SourceOptions) -> None:
        self._name = options.shown_as
        self._options = options
        self._connected = self._connect(url)
        kind = self._connected.response.headers.get_content_type()
        if not kind.startswith("multipart/"):
            self._connected.close()
            raise OtherContentError(self._name, kind)
        self._connected.socket.settimeout(options.stall_timeout_s)
        self._buffer = bytearray()
        self._deadline = 0.0

    @property
    def format(self) -> SourceFormat:
        return SourceFormat("mjpeg over http")

    def __iter__(self) -> Iterator[SourceFrame]:
        timeline = LiveTimeline()
        while True:
            self._deadline = time.monotonic() + self._options.stall_timeout_s
            jpeg = np.frombuffer(self._next_part(), np.uint8)
            moment_us = timeline.capture_time_us(None, self._options.clock.now_us())
            make = partial(decode_picture, jpeg, self._options.max_side, self._name)
            yield SourceFrame(from_microseconds(moment_us), make)

    def close(self) -> None:
        self._connected.close()

    def _connect(self, url: str) -> _Connection:
        parts = split_url(url)
        if parts is None or not parts.hostname:
            raise SourceError(f"expected http://HOST[:PORT]/PATH, got {self._name}")
        login, authorization = _login(parts), None
        for _ in range(_MOST_REQUESTS):
            connected = self._request(parts, authorization)
            response = connected.response
            if response.status == http.HTTPStatus.OK:
                return connected
            connected.close()
            if response.status in _REDIRECTS and response.headers["Location"]:
                url = urljoin(url, response.headers["Location"])
                before, parts = parts, split_url(url)
                if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
                    raise SourceLostError(f"{self._name}: the camera redirects to what is no web address")
                if parts.hostname != before.hostname:
                    login = None  # the password is for the camera alone
                authorization = None
                continue
            challenges = response.headers.get_all("WWW-Authenticate") or []
            if response.status != http.HTTPStatus.UNAUTHORIZED or authorization or login is None:
                self._give_up(response)
            answers = [login.answer(challenge, "GET", _path(parts)) for challenge in challenges]
            authorization = next((answer for answer in answers if answer), None)
            if authorization is None:
                self._give_up(response)
        raise SourceLostError(f"{self._name}: the camera redirects without end")

    def _give_up(self, response: http.client.HTTPResponse) -> NoReturn:
        answer = f"{response.status} {response.reason}"
        if response.status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            raise SourceRefusedError(f"{self._name}: the camera refused the user or password ({answer})")
        raise SourceLostError(f"{self._name}: expected a video stream, got {answer}")

    def _request(self, parts: SplitResult, authorization: str | None) -> _Connection:
        limit_s = self._options.open_timeout_s
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        # Without a port, http.client takes the end of an IPv6 address for one.
        connection = kind(parts.hostname or "", parts.port or kind.default_port, timeout=limit_s)
        try:
            connection.request("GET", _path(parts), headers=_headers(authorization))
            kept = connection.sock  # http.client forgets it when the answer ends the connection
            return _Connection(connection, connection.getresponse(), kept)
        except TimeoutError:
            connection.close()
            raise SourceLostError(f"{self._name}: no answer within {limit_s:g} s") from None
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # the last: a host like "a..b"
            connection.close()
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise SourceLostError(f"{self._name}: cannot connect: {reason}") from None

    def _next_part(self) -> bytes:
        """The body of the next part. Its length comes from its header, else from the end mark of the JPEG."""
        while not self._take_line().startswith(b"--"):
            pass
        length = None
        while line := self._take_line():
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and value.strip().isdigit():
                length = int(value)
        return self._take(length or self._jpeg_length())

    def _jpeg_length(self) -> int:
        """Of the JPEG ahead, to its end mark (ITU-T T.81, annex B).

        The segments before its scan are skipped by their lengths, as a thumbnail inside one has an end mark
        of its own. What is no segment is not believed: the next end mark ends such a picture.
        """
        place = 0
        while True:
            mark = self._peek(place, 2)
            if place == 0 and mark == _START_OF_JPEG:
                place += 2
            elif place and mark == b"\xff\xff":  # the first of them fills up
                place += 1
            elif place and mark[:1] == b"\xff" and mark not in (_START_OF_SCAN, _END_OF_JPEG):
                place += 2 + max(2, int.from_bytes(self._peek(place + 2, 2), "big"))
            else:
                return self._find(_END_OF_JPEG, _MOST_PART_BYTES, place) + len(_END_OF_JPEG)

    def _take_line(self) -> bytes:
        end = self._find(b"\n", _MOST_LINE_BYTES)
        return self._take(end + 1).strip()

    def _find(self, mark: bytes, most_bytes: int, start: int = 0) -> int:
        """Where `mark` stands in the buffer from `start` on; the buffer grows until it is there."""
        searched = start
        while (found := self._buffer.find(mark, searched)) < 0:
            searched = max(start, len(self._buffer) - len(mark) + 1)
            if searched > most_bytes:
                raise SourceLostError(f"{self._name}: the stream is no MJPEG")
            self._fill()
        return found

    def _take(self, count: int) -> bytes:
        taken = self._peek(0, count)
        del self._buffer[:count]
        return taken

    def _peek(self, start: int, count: int) -> bytes:
        """`count` bytes from `start` on; the buffer grows until they are there."""
        end = start + count
        if end > _MOST_PART_BYTES:
            raise SourceLostError(f"{self._name}: a picture of {end} bytes is none")
        while len(self._buffer) < end:
            self._fill()
        return bytes(self._buffer[start:end])

    def _fill(self) -> None:
        limit_s = self._options.stall_timeout_s
        try:
            data = self._connected.response.read1(65536)
        except TimeoutError:
            raise SourceLostError(f"{self._name}: nothing came for {limit_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise SourceLostError(f"{self._name}: the stream broke: {reason}") from None
        if not data:
            raise SourceLostError(f"{self._name}: the camera closed the connection")
        if time.monotonic() > self._deadline:
            raise SourceLostError(f"{self._name}: no whole picture for {limit_s:g} s")
        self._buffer += data


def _headers(authorization: str | None) -> dict[str, str]:
    headers = {"Accept": "multipart/x-mixed-replace, */*", "User-Agent": "framewatch"}
    return headers | ({"Authorization": authorization} if authorization else {})


def _path(parts: SplitResult) -> str:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return quote(path, safe=string.punctuation)


def _login(parts: SplitResult) -> Login | None:
    if parts.username is None:
        return None
    return Login(unquote(parts.username), unquote(parts.password or ""))
