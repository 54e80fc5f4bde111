"""Where the pictures of evidence lie: a folder on disk, or S3-compatible storage through fsspec."""

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from core.errors import EvidenceUnavailableError, SettingsError
from core.types import to_microseconds
from core.urls import redact_url

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_FOLDER = rf"{_DAY.pattern}/[A-Za-z0-9][A-Za-z0-9_.-]*"
_PATH = re.compile(rf"{_FOLDER}/[a-z0-9-]+\.jpg")
_NAME = r"[a-z0-9-]+(-\d+){4}\.jpg"
_OWN_FILE = re.compile(rf"{_FOLDER}/({_NAME}|\.{_NAME}\.[0-9a-f]{{8}}\.part)")
"""What `picture_path` makes, and what `_write_whole` leaves of it in a process that is killed."""


def picture_path(camera: str, class_name: str, captured_at: datetime, identity: tuple[int, int, int]) -> str:
    """`2026-11-23/gate/person-1795474380123456-17-1-0.jpg`: the same for the same detection.

    `identity` is the detection's frame_index, model_id and ordinal. Days come first, so that whole days can
    be removed.
    """
    name = _NOT_IN_NAMES.sub("-", class_name.lower()).strip("-")[:40] or "object"
    numbers = "-".join(str(number) for number in (to_microseconds(captured_at), *identity))
    return f"{captured_at.date().isoformat()}/{camera}/{name}-{numbers}.jpg"


class EvidenceFiles:
    """A folder of pictures; threads may share it. Nothing is made or asked before the first picture.

    Methods raise EvidenceUnavailableError, whatever the storage's own client raises.
    """

    def __init__(self, url: str) -> None:
        """Raises SettingsError for a URL that cannot work."""
        import fsspec

        self.label = redact_url(url)
        """The URL without a password: how messages name the folder."""
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise SettingsError(
                f"evidence url: expected an installed driver for {self.label}: {error}; "
                "for s3:// run `pip install 'framewatch[s3]'`"
            ) from error
        except (ValueError, TypeError) as error:
            raise SettingsError(
                f"evidence url: expected a folder, file:///... or s3://BUCKET/..., got {self.label}: {error}"
            ) from error
        self._is_local = "file" in (
            [protocol] if isinstance(protocol := self._fs.protocol, str) else protocol
        )

    def write(self, path: str, content: bytes) -> None:
        """The whole file or none, also when the process is killed; replaces one of that name."""
        with self._clear_faults("write", path):
            if self._is_local:
                _write_whole(Path(self._full(path)), content)
            else:  # object stores show whole objects only
                self._fs.pipe_file(self._full(path), content)

    def read(self, path: str) -> bytes | None:
        """The file, or None where there is none. Only for paths that `picture_path` made."""
        with self._clear_faults("read", path):
            try:
                content: bytes = self._fs.cat_file(self._full(path))
            except FileNotFoundError:
                return None
            return content

    def delete(self, paths: Iterable[str]) -> None:
        """Removes files; one that is not there is no error."""
        for path in paths:
            with self._clear_faults("delete", path), suppress(FileNotFoundError):
                self._fs.rm_file(self._full(path))

    def delete_days_before(self, day: date) -> int:
        """Removes the pictures of earlier days, then the folders that are empty; returns how many pictures.

        What framewatch did not write stays, whatever its folder is called.
        """
        files = 0
        with self._clear_faults("delete", "old days"):
            for folder in self._days():
                if posixpath.basename(folder) < day.isoformat():
                    own = [path for path in self._fs.find(folder) if self._is_own(path)]
                    self._remove(own)
                    files += len(own)
                    if self._is_local:
                        _remove_empty(Path(folder))
        return files

    def _is_own(self, path: str) -> bool:
        return _OWN_FILE.fullmatch(posixpath.relpath(path, self._root)) is not None

    def _remove(self, paths: Sequence[str]) -> None:
        if self._is_local:
            for path in paths:
                Path(path).unlink(missing_ok=True)  # another process prunes too
        elif paths:
            with suppress(FileNotFoundError):
                self._fs.rm(list(paths))  # object stores delete many at once

    def _days(self) -> list[str]:
        try:
            found: list[Any] = self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        return [folder for entry in found if _DAY.fullmatch(posixpath.basename(folder := entry.rstrip("/")))]

    def _full(self, path: str) -> str:
        if not _PATH.fullmatch(path):
            raise ValueError(f"expected DAY/CAMERA/NAME.jpg, got {path!r}")
        return posixpath.join(self._root, path)

    @contextmanager
    def _clear_faults(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # clients of object stores have error trees of their own
            reason = (
                error.strerror if isinstance(error, OSError) else None
            ) or f"{type(error).__name__}: {error}"
            raise EvidenceUnavailableError(
                f"evidence: cannot {verb} {path} in {self.label}: {' '.join(reason.split())}"
            ) from error


def _remove_empty(day: Path) -> None:
    """Removes the folders of a day's cameras, and the day's, where nothing is in them."""
    for folder in (*day.glob("*/"), day):
        with suppress(OSError):
            folder.rmdir()


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # the row that names the file may outlive a power cut
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
