"""Cameras' passwords are in no log, no Redis value, no answer, no metric, no command line and no row.

Ingest, worker and server run as people run them, with cameras that answer, refuse, are away and break
down; then everything that was said and kept is searched.
"""

import base64
import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import cv2
import psutil
import pytest

from core.camera_state import CameraActivity
from core.types import Camera
from tests.app.api.conftest import serving
from tests.clips import numbered_picture, write_clip
from tests.fakes import save_tiny_detector
from tests.mjpeg_server import MjpegServer
from tests.rtsp_server import RtspServer, encode_clip
from tests.system.fleet import START_TIMEOUT_S, Fleet
from tests.system.street import FRAMEWATCH
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(600)]

CORE = "Zq7HushHush9"
"""The part of every password that no encoding of URLs changes."""
RIGHT, WRONG, FILED = f"p@{CORE}/right", f"p@{CORE}/wrong", f"p@{CORE}/filed"
_SENT = base64.b64encode(f"viewer:p@{CORE}/".encode())  # as basic access sends it
NEEDLES = (CORE.encode(), _SENT[:-4], quote(CORE).encode())
PAGES = ("/", "/add", "/cameras/gate", "/history", "/system", "/metrics")
LIVE = {"gate", "lot", "whole", "door"}


def leaks(haystack: bytes) -> bool:
    return any(needle in haystack for needle in NEEDLES)


@dataclass
class Search:
    """Everything that was said or kept, by where."""

    found: dict[str, bytes] = field(default_factory=dict)

    def add(self, where: str, content: bytes | str) -> None:
        content = content.encode() if isinstance(content, str) else content
        self.found[where] = self.found.get(where, b"") + content

    def leaks(self) -> list[str]:
        return [where for where, content in self.found.items() if leaks(content)]

    def excerpts(self) -> list[bytes]:
        """What stands around the first find in each place."""
        places = ((where, content.find(NEEDLES[0])) for where, content in self.found.items())
        return [self.found[where][max(0, at - 150) : at + 30] for where, at in places if at >= 0]


@contextmanager
def redis_traffic(url: str) -> Iterator[bytearray]:
    """Every command that the server gets, as its MONITOR tells."""
    address, heard = urlsplit(url), bytearray()
    with socket.create_connection((address.hostname, address.port)) as line:
        line.sendall(b"MONITOR\r\n")
        assert line.recv(5) == b"+OK\r\n"

        def listen() -> None:
            while data := line.recv(1 << 20):
                heard.extend(data)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield heard
        line.shutdown(socket.SHUT_RDWR)
        listener.join(timeout=10)


@dataclass(frozen=True)
class Cameras:
    """Four that are live, and four that are not."""

    urls: Mapping[str, str]
    variables: Mapping[str, str]
    """For ingest alone."""
    unsteady: RtspServer


@contextmanager
def all_cameras(folder: Path) -> Iterator[Cameras]:
    clip = encode_clip(write_clip(folder / "clip.mp4", frames=50, fps=5))
    pictures = [cv2.imencode(".jpg", numbered_picture(number))[1].tobytes() for number in range(4)]
    secret = folder / "lot"
    secret.write_text(f"{FILED}\n")
    with (
        RtspServer(clip, users={"viewer": RIGHT}, digest=True) as gate,
        RtspServer(clip, users={"viewer": FILED}) as lot,
        MjpegServer(pictures, fps=5, login=("viewer", RIGHT)) as door,
    ):
        yield Cameras(
            {
                "gate": gate.url("viewer", "${CAM_RIGHT}"),
                "lot": lot.url("viewer", f"${{file:{secret}}}"),
                "whole": "${CAM_URL}",
                "door": door.url(login="viewer:${CAM_RIGHT}@"),
                "refused": gate.url("viewer", "${CAM_WRONG}"),
                "away": "rtsp://viewer:${CAM_RIGHT}@127.0.0.1:1/stream",
                "misspelt": "${CAM_MISSPELT}",
                "odd": "http://[viewer:${CAM_RIGHT}/live?token=${CAM_WRONG}",
            },
            {
                "CAM_RIGHT": RIGHT,
                "CAM_WRONG": WRONG,
                "CAM_URL": gate.url("viewer", quote(RIGHT, safe="")),
                "CAM_MISSPELT": f"rstp//viewer:{RIGHT}@192.0.2.10/stream",
            },
            lot,
        )


def listen_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def ask(url: str, body: object = None) -> bytes:
    """What a server answers, whatever its code; of a stream, what comes within a second."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json", "Accept": "text/html, */*"})
    try:
        with urlopen(request, timeout=30) as answer:
            return read_for_a_second(answer)
    except HTTPError as refused:
        with refused:
            return f"{refused.headers}".encode() + refused.read()


def read_for_a_second(answer: object) -> bytes:
    content, until = b"", time.monotonic() + 1
    while time.monotonic() < until and (data := answer.read1(1 << 16)):  # type: ignore[attr-defined]
        content += data
    return content


def readable_paths(description: bytes) -> list[str]:
    """Every address of the API that can be read with nothing but a camera's name."""
    paths = json.loads(description)["paths"]
    named = [
        path.replace("{name}", "gate").replace("{camera}", "gate") for path in paths if "get" in paths[path]
    ]
    return [path for path in named if "{" not in path]


def ask_everything(search: Search, server: str, urls: Mapping[str, str]) -> None:
    description = ask(f"{server}/api/openapi.json")
    for path in (
        *readable_paths(description),
        "/",
        "/add",
        "/cameras/gate",
        "/history",
        "/system",
        "/metrics",
    ):
        search.add(f"GET {path}", ask(server + path))
    for url in (*urls.values(), f"rtsp://viewer:{RIGHT}@127.0.0.1:1/x"):
        search.add("POST /api/cameras/check", ask(f"{server}/api/cameras/check", {"url": url}))
        new = {"name": "gate", "url": url}
        search.add("POST /api/cameras", ask(f"{server}/api/cameras", new))


def run_commands(search: Search, fleet: Fleet, cameras: Cameras) -> None:
    """What the commands say that a person uses beside the services."""
    listed = "".join(f"  - {{name: {name}, url: '{url}', fps: 1}}\n" for name, url in cameras.urls.items())
    (fleet.folder / "cameras.yml").write_text(f"cameras:\n{listed}")
    literal = f"rtsp://viewer:{RIGHT}@127.0.0.1:1/x"
    for words in (
        ["camera", "list", "--json"],
        ["camera", "apply", "cameras.yml", "--json"],
        ["camera", "add", "literal", literal],
        ["camera", "check", "gate", "--seconds", "0.2"],
        ["sql", "SELECT * FROM cameras, camera_events"],
    ):
        done = subprocess.run(
            [FRAMEWATCH, *words],
            env=dict(fleet.environment) | cameras.variables,
            cwd=fleet.folder,
            capture_output=True,
            timeout=120,
            check=False,
        )
        search.add(f"framewatch {' '.join(words[:2])}", done.stdout + done.stderr)


def note_command_lines(search: Search) -> None:
    """What `ps` would show of every process."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    search.add("ps", "\n".join(lines))


def search_files(search: Search, folder: Path) -> None:
    """Logs, the database with all that SQLite keeps beside it, and whatever else was written."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        search.add(path.name, path.read_bytes())
    with contextlib.closing(sqlite3.connect(folder / "fleet.db")) as connection:
        search.add("rows", "\n".join(connection.iterdump()))


def search_redis(search: Search, fleet: Fleet, traffic: bytearray) -> None:
    """Every value that is there, and every command that ever came."""
    fleet.client.config_set("rdbcompression", "no")  # which DUMP follows
    for key in fleet.client.keys("*"):
        search.add("redis", key + (fleet.client.dump(key) or b""))
    search.add("redis traffic", bytes(traffic))


def test_passwords_of_cameras_stay_in_ingest(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> None:
    weights = save_tiny_detector(tmp_path_factory.mktemp("weights") / "tiny.safetensors")
    search = Search()
    with ExitStack() as stack:
        cameras = stack.enter_context(all_cameras(tmp_path_factory.mktemp("elsewhere")))
        traffic = stack.enter_context(redis_traffic(redis_url))
        ports = {"ingest": listen_port(), "worker": listen_port()}
        fleet = Fleet(
            tmp_path,
            redis_url,
            model=str(weights),
            log_level="DEBUG",
            data_dir=tmp_path / "data",
            reconnect_max_s=8,
            metrics_port=ports["worker"],
        )
        stack.callback(fleet.close)
        fleet.add(*(Camera(name, url, fps=2) for name, url in cameras.urls.items()))
        secret = cameras.variables | {"FRAMEWATCH_METRICS_PORT": str(ports["ingest"])}
        ingest = stack.enter_context(fleet.ingest("ingest", **secret))
        worker = stack.enter_context(fleet.worker("worker"))
        server = stack.enter_context(serving(tmp_path, **fleet.settings))

        wait_until(lambda: fleet.readers().keys() == LIVE, START_TIMEOUT_S, "four live cameras", 0.1)
        wait_until(
            lambda: all(fleet.queue.ledger(one).stored for one in LIVE), START_TIMEOUT_S, "rows of them"
        )
        note_command_lines(search)
        for one in ingest.family():
            one.send_signal(signal.SIGABRT)
        wait_until(lambda: "camera lot: its process died" in ingest.log, 30, "the death of its process")
        fleet.seconds_until_all_publish(sorted(LIVE), START_TIMEOUT_S)
        cameras.unsteady.drop_clients()
        wait_until(lambda: "camera lot: lost: " in ingest.log, 30, "the loss of a camera")
        ask_everything(search, server.url, cameras.urls)
        run_commands(search, fleet, cameras)
        for name, port in ports.items():
            search.add(f"metrics of {name}", ask(f"http://127.0.0.1:{port}/metrics"))
        note_command_lines(search)
        states = {state.camera: state.activity for state in fleet.states.load()}
        assert ingest.terminate() == 0
        assert worker.terminate() == 0
        search_redis(search, fleet, traffic)
        search_files(search, tmp_path)

    assert search.leaks() == [], search.excerpts()
    # All of it really said something, about cameras that really had these passwords.
    assert states["refused"] is CameraActivity.REFUSED
    assert {"away", "misspelt", "odd"} <= states.keys() - fleet_live(states)
    assert b"ingest.camera_process" in search.found["ps"]
    for where in ("redis", "redis traffic", "rows", "ingest.log", "metrics of ingest", "GET /api/status"):
        assert b"gate" in search.found[where], where
    assert b"framewatch_worker_frames_total" in search.found["metrics of worker"]
    assert b"serving on" in search.found["serve.log"]
    assert b"celery" in search.found["worker.log"]
    for where in ("rows", "GET /api/cameras", "framewatch camera list", "ingest.log", "GET /api/status"):
        assert b"${CAM_RIGHT}" in search.found[where], where
    assert leaks(next(iter(cameras.variables.values())).encode())
    assert leaks(base64.b64encode(f"viewer:{RIGHT}".encode()))


def fleet_live(states: Mapping[str, CameraActivity]) -> set[str]:
    return {camera for camera, activity in states.items() if activity is CameraActivity.LIVE}
