"""Fetching a weights file once, over HTTP: what broke off goes on, and a wrong file never appears."""

import fcntl
import hashlib
import logging
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from core.errors import WeightsError

logger = logging.getLogger(__name__)

TIMEOUT_S = 30.0
"""Silence of the server after which an attempt ends."""
ATTEMPTS = 4
"""Connections in a row that bring nothing before the download is given up."""
CHUNK_BYTES = 1 << 20
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416


def fetch(url: str, target: Path, sha256: str) -> Path:
    """The file of `url` at `target`, unless it is there already; `sha256` may be the first digits alone.

    What has arrived is kept beside it as `.NAME.partial`, also over the end of the process, and the next call
    goes on from there. Of several processes one fetches, and the others wait for it.
    Raises WeightsError, naming the way out, where the server cannot be reached or has another file.
    """
    if target.is_file() and has_digest(target, sha256):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    with partial.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_file() and has_digest(target, sha256):
            return target
        logger.warning("fetching %s to %s, once", url, target)
        if partial.exists() and not _complete(url, partial, sha256):
            logger.warning("%s: what was there is of another file; fetching it from its start", target.name)
            partial.unlink()
        if not partial.exists() and not _complete(url, partial, sha256):
            partial.unlink()
            raise WeightsError(
                f"{url}: expected a file with sha256 {sha256}.., got another one; fetch the right one "
                "elsewhere and give its path as the model"
            )
        partial.replace(target)
    return target


def has_digest(path: Path, sha256: str) -> bool:
    """Whether a file's SHA-256, hexadecimal, begins with these digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(sha256)


def _complete(url: str, partial: Path, sha256: str) -> bool:
    """Fetch what `partial` lacks; whether it is the right file then. Raises WeightsError."""
    in_vain = 0
    with partial.open("ab") as file:
        while True:
            before = file.tell()
            try:
                _append(url, file)
                break
            except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
                is_final = isinstance(error, HTTPError) and error.code < 500
                in_vain = 0 if file.tell() > before else in_vain + 1
                if is_final or in_vain >= ATTEMPTS or (before == file.tell() == 0):
                    raise _unreachable(url, file.tell(), error) from error
                logger.warning("%s broke off after %d bytes (%s); going on", url, file.tell(), error)
    return has_digest(partial, sha256)


def _append(url: str, file: IO[bytes]) -> None:
    """Write what comes after the file's bytes; from the start where the server knows no ranges."""
    start = file.tell()
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response: HTTPResponse
        with urlopen(request, timeout=TIMEOUT_S) as response:
            if response.status != _PARTIAL_CONTENT:
                file.seek(0)
                file.truncate()
            _copy(response, file)
    except HTTPError as error:
        error.close()
        if error.code != _RANGE_NOT_SATISFIABLE:  # nothing comes after: it is whole, or another file
            raise
    finally:
        file.flush()


def _copy(response: HTTPResponse, file: IO[bytes]) -> None:
    expected = response.length
    written = 0
    while chunk := response.read1(CHUNK_BYTES):
        file.write(chunk)
        written += len(chunk)
    if expected is not None and written < expected:
        raise ConnectionError(f"the server ended after {written} of {expected} bytes")


def _unreachable(url: str, have: int, error: Exception) -> WeightsError:
    kept = f"; {have} bytes are kept, and the next try goes on from there" if have else ""
    return WeightsError(
        f"cannot fetch {url} ({error}){kept}; without network, fetch it elsewhere and give the file's path "
        "as the model"
    )
