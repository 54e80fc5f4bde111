"""`${NAME}` in camera URLs, so that passwords stay out of the database; resolved here and nowhere else."""

import os
import re
from collections.abc import Mapping
from urllib.parse import quote

from core.errors import SettingsError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LOGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<login>[^/]*)@(?P<rest>.*)", re.DOTALL)


def resolve_references(url: str, environment: Mapping[str, str] | None = None) -> str:
    """The URL with every `${NAME}` replaced by the environment variable of that name.

    A value in the place of a user or password stands for itself and is percent-encoded; anywhere else it is
    taken as it is. Raises SettingsError that names a missing variable.
    """
    known: Mapping[str, str] = os.environ if environment is None else environment  # noqa: TID251 - see above

    def fill(text: str, *, encode: bool) -> str:
        return _REFERENCE.sub(lambda match: _value(match[1], known, encode), text)

    parts = _LOGIN.fullmatch(url)
    if parts is None:
        return fill(url, encode=False)
    return f"{parts['scheme']}{fill(parts['login'], encode=True)}@{fill(parts['rest'], encode=False)}"


def _value(name: str, known: Mapping[str, str], encode: bool) -> str:
    if name not in known:
        raise SettingsError(f"camera URL: expected the environment variable {name} to be set, it is not")
    return quote(known[name], safe="") if encode else known[name]
