"""An RTSP server for tests and benchmarks: loops a clip as H.264 over TCP, and fails on demand.

RFC 2326 with interleaved RTP (section 10.12), H.264 payload of RFC 6184 (single NAL units and FU-A),
basic and digest access (RFC 2617). The clip is encoded once; after that a client costs next to no CPU.

    python -m tests.rtsp_server street.avi --port 8554 --fps 25
"""

import argparse
import base64
import hashlib
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av

_RTP_CLOCK_HZ = 90_000
_MAX_PAYLOAD_BYTES = 1400
_REALM = "framewatch-tests"


class Fault(Enum):
    """What the server does instead of serving."""

    NONE = auto()
    FREEZE = auto()
    """Accepts connections and sends nothing more."""
    GARBAGE = auto()
    """Sends random bytes as RTP payload."""


@dataclass(frozen=True)
class EncodedClip:
    """H.264 access units, each a list of NAL units without start codes."""

    units: tuple[tuple[bytes, ...], ...]
    parameter_sets: tuple[bytes, bytes]
    fps: Fraction


@lru_cache(maxsize=8)
def encode_clip(path: Path, fps: Fraction | None = None, max_frames: int = 500) -> EncodedClip:
    """Transcodes a video file to H.264 without B-frames and with a keyframe per second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = fps or stream.average_rate or Fraction(25)
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = stream.width, stream.height, "yuv420p"
        encoder.time_base, encoder.framerate = 1 / Fraction(rate), Fraction(rate)
        encoder.gop_size, encoder.max_b_frames = max(1, round(rate)), 0
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "repeat-headers": "1"}
        packets: list[bytes] = []
        for index, frame in enumerate(container.decode(stream)):
            if index == max_frames:
                break
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = index, encoder.time_base
            frame.pict_type = av.video.frame.PictureType.NONE
            packets += [bytes(packet) for packet in encoder.encode(frame)]
        packets += [bytes(packet) for packet in encoder.encode(None)]
    units = tuple(tuple(_split_annex_b(packet)) for packet in packets)
    by_type = {nal[0] & 31: nal for unit in units for nal in unit}
    return EncodedClip(units, (by_type[7], by_type[8]), Fraction(rate))


def _split_annex_b(data: bytes) -> Iterator[bytes]:
    for part in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1"):
        if part:
            yield part


def _payloads(nal: bytes) -> Iterator[bytes]:
    """RTP payloads of one NAL unit: itself, or its fragments (RFC 6184, section 5.8)."""
    if len(nal) <= _MAX_PAYLOAD_BYTES:
        yield nal
        return
    body = nal[1:]
    for start in range(0, len(body), _MAX_PAYLOAD_BYTES):
        piece = body[start : start + _MAX_PAYLOAD_BYTES]
        first, last = start == 0, start + _MAX_PAYLOAD_BYTES >= len(body)
        yield bytes([nal[0] & 0xE0 | 28, first << 7 | last << 6 | nal[0] & 31]) + piece


class RtspServer:
    """Serves one clip to any number of clients; a context manager that runs in threads."""

    def __init__(
        self,
        clip: EncodedClip,
        *,
        port: int = 0,
        users: dict[str, str] | None = None,
        digest: bool = False,
    ) -> None:
        self.fault = Fault.NONE
        self.connections = 0
        """Connections accepted since the start."""
        self._clip, self._users, self._digest = clip, users, digest
        self._nonce = secrets.token_hex(8)
        self._port = port
        self._listener: socket.socket | None = None
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        return self._port

    def url(self, user: str | None = None, password: str | None = None) -> str:
        login = f"{user}:{password}@" if user else ""
        return f"rtsp://{login}127.0.0.1:{self._port}/stream"

    def __enter__(self) -> "RtspServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listens; after a `stop` on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._start_thread(self._accept, self._listener)

    def stop(self) -> None:
        """Closes everything; connecting is refused until `start`."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.drop_clients()
        for thread in self._threads:
            thread.join(timeout=5)
        self._threads.clear()

    def drop_clients(self) -> None:
        """Cuts every connection without a word."""
        for client in list(self._clients):
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _start_thread(self, work: Callable[[socket.socket], None], with_socket: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(with_socket,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._clients.add(client)
            self._start_thread(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            _Session(self, client).run()
        except (OSError, ValueError):
            pass  # the client left, or sent something that is not RTSP
        finally:
            self._clients.discard(client)
            client.close()

    def allows(self, method: str, authorization: str | None) -> bool:
        """Whether the Authorization header of a request fits one of the users."""
        if self._users is None or method == "OPTIONS":
            return True
        if authorization is None:
            return False
        kind, _, value = authorization.partition(" ")
        if not self._digest:
            given = base64.b64decode(value).decode() if kind == "Basic" else ""
            return given in {f"{user}:{password}" for user, password in self._users.items()}
        fields = dict(part.strip().split("=", 1) for part in value.split(","))
        fields = {name: text.strip('"') for name, text in fields.items()}
        user = fields.get("username", "")
        first = _md5(f"{user}:{_REALM}:{self._users.get(user)}")
        second = _md5(f"{method}:{fields.get('uri')}")
        return user in self._users and fields.get("response") == _md5(f"{first}:{self._nonce}:{second}")

    @property
    def challenge(self) -> str:
        if self._digest:
            return f'Digest realm="{_REALM}", nonce="{self._nonce}"'
        return f'Basic realm="{_REALM}"'

    @property
    def clip(self) -> EncodedClip:
        return self._clip


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class _Session:
    """One connection: answers requests, and sends frames at their times once it plays."""

    def __init__(self, server: RtspServer, client: socket.socket) -> None:
        self._server, self._client = server, client
        self._received = b""
        self._started_at: float | None = None
        self._sent_frames = 0
        self._sequence = secrets.randbelow(1 << 16)
        self._first_time = secrets.randbelow(1 << 31)
        self._ssrc = secrets.randbelow(1 << 32)

    def run(self) -> None:
        while True:
            readable, _, _ = select.select([self._client], [], [], self._wait_s())
            if readable and not self._receive():
                return
            if self._server.fault is Fault.FREEZE:
                continue
            while self._started_at is not None and self._wait_s() <= 0:
                self._send_frame()

    def _wait_s(self) -> float:
        """Seconds until the next frame is due."""
        if self._started_at is None or self._server.fault is Fault.FREEZE:
            return 0.1
        due = self._started_at + float(self._sent_frames / self._server.clip.fps)
        return max(0.0, due - time.monotonic())

    def _receive(self) -> bool:
        data = self._client.recv(65536)
        self._received += data
        if self._server.fault is Fault.FREEZE:
            return bool(data)
        while self._received:
            if self._received[0] == ord("$"):  # RTCP from the client
                if len(self._received) < 4:
                    break
                size = 4 + struct.unpack_from(">H", self._received, 2)[0]
                if len(self._received) < size:
                    break
                self._received = self._received[size:]
                continue
            head, found, rest = self._received.partition(b"\r\n\r\n")
            if not found:
                break
            self._received = rest
            self._answer(head.decode())
        return bool(data)

    def _answer(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        method, url, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        sequence = headers.get("cseq", "0")
        if not self._server.allows(method, headers.get("authorization")):
            self._reply(sequence, "401 Unauthorized", f"WWW-Authenticate: {self._server.challenge}")
        elif method == "OPTIONS":
            self._reply(sequence, "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif method == "DESCRIBE":
            self._reply(
                sequence, "200 OK", f"Content-Base: {url}/\r\nContent-Type: application/sdp", self._sdp()
            )
        elif method == "SETUP" and "TCP" not in headers.get("transport", ""):
            self._reply(sequence, "461 Unsupported Transport")
        elif method == "SETUP":
            self._reply(
                sequence, "200 OK", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1;timeout=60"
            )
        elif method == "TEARDOWN":
            self._reply(sequence, "200 OK", "Session: 1")
            raise ConnectionError("torn down")
        else:  # PLAY, GET_PARAMETER
            self._reply(sequence, "200 OK", "Session: 1")
            if method == "PLAY":
                self._started_at, self._sent_frames = time.monotonic(), 0

    def _reply(self, sequence: str, status: str, headers: str = "", body: str = "") -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {sequence}", *([headers] if headers else [])]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self._client.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _sdp(self) -> str:
        sps, pps = self._server.clip.parameter_sets
        sets = ",".join(base64.b64encode(nal).decode() for nal in (sps, pps))
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=clip\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
            f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/{_RTP_CLOCK_HZ}\r\n"
            f"a=fmtp:96 packetization-mode=1;profile-level-id={sps[1:4].hex()};"
            f"sprop-parameter-sets={sets}\r\n"
            f"a=framerate:{float(self._server.clip.fps)}\r\na=control:trackID=0\r\n"
        )

    def _send_frame(self) -> None:
        clip = self._server.clip
        unit = clip.units[self._sent_frames % len(clip.units)]
        moment = self._first_time + int(self._sent_frames * _RTP_CLOCK_HZ / clip.fps)
        payloads = [payload for nal in unit for payload in _payloads(nal)]
        if self._server.fault is Fault.GARBAGE:
            payloads = [secrets.token_bytes(len(payload)) for payload in payloads]
        sent = bytearray()
        for number, payload in enumerate(payloads):
            marker = 0x80 if number == len(payloads) - 1 else 0
            packet = struct.pack(">BBHII", 0x80, 96 | marker, self._sequence, moment & 0xFFFFFFFF, self._ssrc)
            sent += struct.pack(">BBH", ord("$"), 0, len(packet) + len(payload)) + packet + payload
            self._sequence = (self._sequence + 1) & 0xFFFF
        self._client.sendall(sent)
        self._sent_frames += 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Loop a video file as an RTSP camera on 127.0.0.1.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=8554)
    parser.add_argument("--fps", type=Fraction, default=None, help="frames per second, default the file's")
    parser.add_argument("--login", help="USER:PASSWORD that clients must give")
    parser.add_argument("--digest", action="store_true", help="ask for digest instead of basic access")
    given = parser.parse_args()
    users = dict([given.login.split(":", 1)]) if given.login else None
    clip = encode_clip(given.file, given.fps)
    with RtspServer(clip, port=given.port, users=users, digest=given.digest) as server:
        print(server.url(), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
