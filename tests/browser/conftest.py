"""A real browser before a real `framewatch serve`, beside ingest and a worker that watch a street clip."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

from core.evidence_policy import EvidenceKind
from storage.database import Database, open_database
from storage.evidence import Candidate, Picture, keep_if_best
from storage.evidence_files import EvidenceFiles
from storage.writer import Writer
from tests.app.api.conftest import serving
from tests.app.conftest import clean_environment, framewatch
from tests.conftest import missing
from tests.mjpeg_server import MjpegServer
from tests.storage.results import WEIGHTS, make_result

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE_MS = 60_000
"""Until something shows that is there within a second or two on an idle machine."""
PICTURE_SIZE = (40, 90)


@dataclass(frozen=True)
class Stack:
    """A running installation."""

    url: str
    """Of the dashboard."""
    clip_url: str
    """Of the beginning of the street clip, as a camera sends it."""
    folder: Path
    database: Database


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium without a screen."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing("Chromium")
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The street clip, again and again, as the camera `street` and over HTTP; and six hours of `gate`."""
    clip = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
    if not clip.exists():
        missing("vtest.avi of Debian's opencv-doc")
    folder = tmp_path_factory.mktemp("dashboard")
    database = open_database(f"sqlite:///{folder / 'framewatch.db'}")
    database.upgrade()
    fill(database, folder / "framewatch-data" / "evidence")
    with (
        MjpegServer(read_clip(clip), fps=5) as camera,
        watching(folder, clip),
        serving(folder) as server,
    ):
        yield Stack(server.url, camera.url(), folder, database)
    database.close()


def read_clip(clip: Path, frames: int = 100) -> list[bytes]:
    """The beginning of a video as JPEG pictures."""
    video = cv2.VideoCapture(str(clip))
    try:
        images = (video.read()[1] for _ in range(frames))
        return [cv2.imencode(".jpg", image)[1].tobytes() for image in images]
    finally:
        video.release()


@contextmanager
def watching(folder: Path, clip: Path) -> Iterator[None]:
    """`framewatch up` with one camera: embedded Redis, ingest and a worker with the shipped detector."""
    patient = "policy: latest, max_age_s: 120"  # on a busy machine
    camera = f"{{name: street, url: {clip}, loop: true, fps: 1, {patient}}}"
    (folder / "cameras.yml").write_text(f"cameras: [{camera}]")
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            framewatch("up", "cameras.yml"),
            cwd=folder,
            env=clean_environment(OMP_NUM_THREADS="1"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    except BaseException:
        print(log.read_text(errors="replace"))
        raise
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fill(database: Database, pictures: Path) -> None:
    """`gate`: every hour for six hours two people and a car, none within the last hour.

    The newest person has a picture.
    """
    newest_at = datetime.now(UTC) - timedelta(minutes=65)
    boxes = [(100, 100, 160, 260), (300, 100, 360, 260), (500, 300, 640, 380)]
    results = [
        make_result(
            "gate",
            i,
            boxes,
            labels=[0, 0, 1],
            scores=[0.9, 0.6, 0.8],
            captured_at=newest_at - timedelta(hours=i),
        )
        for i in range(6)
    ]
    Writer(database).write(results, WEIGHTS)
    newest = results[0]
    person = Candidate("gate", newest.captured_at, 0, WEIGHTS, 0, 0, 0.9, 60.0, EvidenceKind.CROP)
    width, height = PICTURE_SIZE
    jpeg = cv2.imencode(".jpg", cv2.UMat(height, width, cv2.CV_8UC3, (90, 120, 60)).get())[1].tobytes()
    assert keep_if_best(database, EvidenceFiles(str(pictures)), person, lambda: Picture(jpeg, PICTURE_SIZE))


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A person's browser, without cookies; its pages may load from this machine only and log no errors."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    faults: list[str] = []
    watch_for_faults(context, faults)
    yield context
    context.close()
    assert faults == []


def watch_for_faults(context: BrowserContext, faults: list[str]) -> None:
    """Notes errors of scripts, and what pages load elsewhere, in vain or against their content policy."""

    def look_after(page: Page) -> None:
        page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
        page.on("console", note_console)

    def note_console(message: ConsoleMessage) -> None:
        # A page with a status of 400 is an answer like others; files are looked at below.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            faults.append(message.text)

    def note_response(response: Response) -> None:
        if response.status >= 400 and response.request.resource_type in ("script", "stylesheet", "image"):
            faults.append(f"{response.status} for {response.url}")

    def note_request(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            faults.append(f"asked for {request.url}")

    context.on("page", look_after)
    context.on("request", note_request)
    context.on("response", note_response)


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty page."""
    return context.new_page()
