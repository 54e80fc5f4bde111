"""An RTSP server for tests and benchmarks: loops a clip as H.264 or H.265, and fails on demand.

RFC 2326 with interleaved RTP (section 10.12) or RTP over UDP, H.264 payload of RFC 6184 and H.265 payload of
RFC 7798 (single NAL units and fragments), sender reports of RFC 3550 (section 6.4.1), basic and digest access
(RFC 2617). The clip is encoded once; after that a client costs next to no CPU.

    python -m tests.rtsp_server street.avi --port 8554 --fps 25
"""

import argparse
import base64
import contextlib
import hashlib
import random
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
_NTP_EPOCH_S = 2_208_988_800
"""From 1900 to 1970."""


class Fault(Enum):
    """What the server does instead of serving."""

    NONE = auto()
    FREEZE = auto()
    """Accepts connections and sends nothing more."""
    GARBAGE = auto()
    """Sends random bytes as RTP payload."""
    MOSTLY_GARBAGE = auto()
    """The same, but a good keyframe in every tenth place."""


@dataclass(frozen=True)
class EncodedClip:
    """H.264 or H.265 access units, each a list of NAL units without start codes."""

    units: tuple[tuple[bytes, ...], ...]
    parameter_sets: tuple[bytes, ...]
    fps: Fraction
    codec: str = "h264"


@lru_cache(maxsize=16)
def encode_clip(
    path: Path,
    fps: Fraction | None = None,
    max_frames: int = 500,
    *,
    size: tuple[int, int] | None = None,
    keyframe_every: int | None = None,
    preset: str = "ultrafast",
    codec: str = "h264",
) -> EncodedClip:
    """Transcodes a video file without B-frames, and with a keyframe per second unless told otherwise."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = Fraction(fps or stream.average_rate or 25)
        encoder = av.CodecContext.create("libx264" if codec == "h264" else "libx265", "w")
        encoder.width, encoder.height = size or (stream.width, stream.height)
        encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", 1 / rate, rate
        encoder.gop_size, encoder.max_b_frames = keyframe_every or max(1, round(rate)), 0
        encoder.options = _encoder_options(codec, preset)
        packets: list[bytes] = []
        for index, frame in enumerate(container.decode(stream)):
            if index == max_frames:
                break
            frame = frame.reformat(encoder.width, encoder.height, "yuv420p", interpolation="BICUBIC")
            frame.pts, frame.time_base = index, encoder.time_base
            frame.pict_type = av.video.frame.PictureType.NONE
            packets += [bytes(packet) for packet in encoder.encode(frame)]
        packets += [bytes(packet) for packet in encoder.encode(None)]
    units = tuple(tuple(_split_annex_b(packet)) for packet in packets)
    by_type = {_nal_type(nal, codec): nal for unit in units for nal in unit}
    sets = tuple(by_type[kind] for kind in ((7, 8) if codec == "h264" else (32, 33, 34)))
    return EncodedClip(units, sets, rate, codec)


def _encoder_options(codec: str, preset: str) -> dict[str, str]:
    options = {"preset": preset, "tune": "zerolatency", "crf": "23"}
    if codec == "h264":
        return options | {"repeat-headers": "1", "sc_threshold": "0"}
    return options | {"x265-params": "repeat-headers=1:log-level=none:pools=none:frame-threads=1"}


def _nal_type(nal: bytes, codec: str) -> int:
    return nal[0] & 31 if codec == "h264" else nal[0] >> 1 & 63


def _split_annex_b(data: bytes) -> Iterator[bytes]:
    for part in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1"):
        if part:
            yield part


def _payloads(nal: bytes, codec: str) -> Iterator[bytes]:
    """RTP payloads of one NAL unit: itself, or its fragments (RFC 6184, 5.8; RFC 7798, 4.4.3)."""
    if len(nal) <= _MAX_PAYLOAD_BYTES:
        yield nal
        return
    header = 1 if codec == "h264" else 2
    body = nal[header:]
    for start in range(0, len(body), _MAX_PAYLOAD_BYTES):
        piece = body[start : start + _MAX_PAYLOAD_BYTES]
        mark = (start == 0) << 7 | (start + _MAX_PAYLOAD_BYTES >= len(body)) << 6 | _nal_type(nal, codec)
        if codec == "h264":
            yield bytes([nal[0] & 0xE0 | 28, mark]) + piece
        else:
            yield bytes([nal[0] & 0x81 | 49 << 1, nal[1], mark]) + piece


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
        self.clip = clip
        """May be replaced while clients play: each goes on with the new one, under the old description."""
        self.clock_ahead_s: float | None = None
        """Sends sender reports with a clock that is ahead of this machine's by so much; None: sends none."""
        self.connections = 0
        """Connections accepted since the start."""
        self._users, self._digest = users, digest
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

    def set_users(self, users: dict[str, str] | None) -> None:
        """Whom it lets in from the next request on."""
        self._users = users

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
        session = _Session(self, client)
        try:
            session.run()
        except (OSError, ValueError):
            pass  # the client left, or sent something that is not RTSP
        finally:
            session.close()
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
        self._clip, self._unit = server.clip, 0
        self._udp: tuple[socket.socket, socket.socket] | None = None
        self._reported_at = 0.0
        self._sent_packets = self._sent_bytes = 0

    def close(self) -> None:
        for channel in self._udp or ():
            channel.close()

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
        due = self._started_at + float(self._sent_frames / self._clip.fps)
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
        elif method == "SETUP":
            transport = self._set_up(headers["transport"])
            self._reply(sequence, "200 OK", f"Transport: {transport}\r\nSession: 1;timeout=60")
        elif method == "TEARDOWN":
            self._reply(sequence, "200 OK", "Session: 1")
            raise ConnectionError("torn down")
        else:  # PLAY, GET_PARAMETER
            self._reply(sequence, "200 OK", "Session: 1")
            if method == "PLAY":
                self._started_at, self._sent_frames = time.monotonic(), 0

    def _set_up(self, wanted: str) -> str:
        """Opens the way that the client's Transport header asks for, and says it."""
        if "TCP" in wanted:
            return "RTP/AVP/TCP;unicast;interleaved=0-1"
        ports = wanted.partition("client_port=")[2].partition(";")[0]
        host = self._client.getpeername()[0]
        channels = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for channel, port in zip(channels, ports.split("-"), strict=True):
            channel.bind(("127.0.0.1", 0))
            channel.connect((host, int(port)))
        self._udp = (channels[0], channels[1])
        own = "-".join(str(channel.getsockname()[1]) for channel in channels)
        return f"RTP/AVP/UDP;unicast;client_port={ports};server_port={own}"

    def _reply(self, sequence: str, status: str, headers: str = "", body: str = "") -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {sequence}", *([headers] if headers else [])]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self._client.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _sdp(self) -> str:
        clip = self._server.clip
        sets = [base64.b64encode(nal).decode() for nal in clip.parameter_sets]
        if clip.codec == "h264":
            name = "H264"
            level = clip.parameter_sets[0][1:4].hex()
            form = f"packetization-mode=1;profile-level-id={level};sprop-parameter-sets={','.join(sets)}"
        else:
            name = "H265"
            form = f"sprop-vps={sets[0]};sprop-sps={sets[1]};sprop-pps={sets[2]}"
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=clip\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
            f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 {name}/{_RTP_CLOCK_HZ}\r\na=fmtp:96 {form}\r\n"
            f"a=framerate:{float(clip.fps)}\r\na=control:trackID=0\r\n"
        )

    def _send_frame(self) -> None:
        if self._clip is not self._server.clip:
            self._clip, self._unit = self._server.clip, 0
        clip = self._clip
        is_garbage = self._server.fault is Fault.GARBAGE
        unit = clip.units[self._unit % len(clip.units)]
        if self._server.fault is Fault.MOSTLY_GARBAGE:
            is_garbage, unit = self._unit % 10 != 0, clip.units[0]
        moment = self._first_time + int(self._sent_frames * _RTP_CLOCK_HZ / clip.fps)
        payloads = [payload for nal in unit for payload in _payloads(nal, clip.codec)]
        if is_garbage:
            # The same in every run: other bytes may decode now and then, and hold a camera for longer.
            garbage = random.Random(1000 + self._unit)
            payloads = [garbage.randbytes(len(payload)) for payload in payloads]
        packets = []
        if self._server.clock_ahead_s is not None and time.monotonic() - self._reported_at >= 1:
            packets.append((1, self._sender_report(moment, self._server.clock_ahead_s)))
        for number, payload in enumerate(payloads):
            marker = 0x80 if number == len(payloads) - 1 else 0
            head = struct.pack(">BBHII", 0x80, 96 | marker, self._sequence, moment & 0xFFFFFFFF, self._ssrc)
            packets.append((0, head + payload))
            self._sequence = (self._sequence + 1) & 0xFFFF
        self._send(packets)
        self._sent_frames += 1
        self._unit += 1

    def _send(self, packets: list[tuple[int, bytes]]) -> None:
        """Sends (channel, packet) pairs; channel 0 is RTP, 1 is RTCP."""
        self._sent_packets += len(packets)
        self._sent_bytes += sum(len(packet) for _, packet in packets)
        if self._udp is None:
            framed = (
                struct.pack(">BBH", ord("$"), channel, len(packet)) + packet for channel, packet in packets
            )
            self._client.sendall(b"".join(framed))
            return
        for channel, packet in packets:
            with contextlib.suppress(ConnectionRefusedError):  # the client closed its port a moment ago
                self._udp[channel].send(packet)

    def _sender_report(self, moment: int, ahead_s: float) -> bytes:
        """What the sender's clock says at the RTP time `moment`, which is now."""
        self._reported_at = time.monotonic()
        seconds, part = divmod(time.time() + ahead_s + _NTP_EPOCH_S, 1)
        counts = (self._sent_packets & 0xFFFFFFFF, self._sent_bytes & 0xFFFFFFFF)
        times = (int(seconds), int(part * (1 << 32)), moment & 0xFFFFFFFF)
        return struct.pack(">BBHIIIIII", 0x80, 200, 6, self._ssrc, *times, *counts)


def main() -> None:
    parser = argparse.ArgumentParser(description="Loop a video file as an RTSP camera on 127.0.0.1.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=8554)
    parser.add_argument("--fps", type=Fraction, default=None, help="frames per second, default the file's")
    parser.add_argument("--size", help="WIDTHxHEIGHT to encode, default the file's")
    parser.add_argument(
        "--keyframe-every", type=int, help="frames from keyframe to keyframe, default a second"
    )
    parser.add_argument("--max-frames", type=int, default=500, help="of the file, which are looped")
    parser.add_argument("--preset", default="ultrafast", help="how hard the encoder tries: what libx264 says")
    parser.add_argument("--codec", choices=("h264", "hevc"), default="h264")
    parser.add_argument("--login", help="USER:PASSWORD that clients must give")
    parser.add_argument("--digest", action="store_true", help="ask for digest instead of basic access")
    given = parser.parse_args()
    users = dict([given.login.split(":", 1)]) if given.login else None
    width, _, height = (given.size or "").partition("x")
    clip = encode_clip(
        given.file,
        given.fps,
        given.max_frames,
        size=(int(width), int(height)) if given.size else None,
        keyframe_every=given.keyframe_every,
        preset=given.preset,
        codec=given.codec,
    )
    with RtspServer(clip, port=given.port, users=users, digest=given.digest) as server:
        print(server.url(), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
