"""`${NAME}` and `${file:/path}` in camera URLs keep passwords out of the database; resolved here alone.

`${NAME}` is an environment variable. A file holds one secret, as Docker and Kubernetes mount them; it is read
each time that the camera is opened, so that a new password needs no restart.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from core.errors import FramewatchError, SettingsError, SourceLostError
from core.urls import HIDDEN, REFERENCE, literal_secrets, mask_references

_LOGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*@")
_LONGEST_SECRET_BYTES = 4096
_SHORTEST_HIDDEN = 4
"""Characters; hiding every "1" of a text would hide no secret."""


def resolve_references(url: str, environment: Mapping[str, str] | None = None) -> str:
    """The URL with every `${NAME}` and `${file:/path}` replaced by what it stands for.

    A value in the place of a user or password stands for itself and is percent-encoded; anywhere else it is
    taken as it is. Raises SettingsError that names a missing variable, and SourceLostError for a file that
    cannot be read now.
    """
    known: Mapping[str, str] = os.environ if environment is None else environment  # noqa: TID251 - see above
    login = _LOGIN.match(mask_references(url))
    end = login.end() if login else 0

    def value(match: "re.Match[str]") -> str:
        name, path = match["variable"], match["file"]
        return _of_environment(name, known) if name else _of_file(Path(path))

    before = REFERENCE.sub(lambda match: quote(value(match), safe=""), url[:end])
    return before + REFERENCE.sub(value, url[end:])


def hide_secrets(text: str, url: str) -> str:
    """The text with `***` for what the references of a URL stand for, and for its password.

    A second fence: messages are made without secrets, but a library's error may hold what it was given.
    """
    found = set(literal_secrets(url))
    try:
        found |= {resolve_references(match[0]) for match in REFERENCE.finditer(url)}
        found |= set(literal_secrets(resolve_references(url)))
    except FramewatchError:  # what is not to be had cannot be shown
        pass
    found |= {quote(secret, safe="") for secret in found} | {unquote(secret) for secret in found}
    found |= {str(Path(secret)) for secret in found}  # a misspelt URL is taken for a file
    for secret in sorted(found, key=len, reverse=True):
        if len(secret) >= _SHORTEST_HIDDEN:
            text = text.replace(secret, HIDDEN)
    return text


def _of_environment(name: str, known: Mapping[str, str]) -> str:
    if name not in known:
        raise SettingsError(f"camera URL: expected the environment variable {name} to be set, it is not")
    return known[name]


def _of_file(path: Path) -> str:
    """What the file holds, without the end of its line."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_SECRET_BYTES + 1)
        text = content.decode().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SourceLostError(f"camera URL: expected {path} to hold a secret, got: {reason}") from None
    if not text or "\n" in text or len(content) > _LONGEST_SECRET_BYTES:
        raise SourceLostError(f"camera URL: expected {path} to hold one line, a secret; it does not")
    return text
