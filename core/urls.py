"""Secrets in URLs: found, and kept out of what people and logs see."""

import re
from urllib.parse import SplitResult, unquote, urlsplit

_AUTHORITY = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>.*)", re.DOTALL)
REFERENCE = re.compile(r"\$\{(?:(?P<variable>[A-Za-z_][A-Za-z0-9_]*)|file:(?P<file>/[^{}]+))\}")
"""`${NAME}`: an environment variable; `${file:/path}`: what a file holds (ingest/references.py)."""
_SECRET_PARAMETER = re.compile(
    r"(?P<name>(?P<in_path>[/_](?:password|passwd|pwd|pw)=)|[?&;][^=&;#]*"
    r"(?:pass|passwd|password|passphrase|loginpas|pwd|psw|pw|token|secret|auth|api[_-]?key|credentials?)=|"
    r"[?&;]u(?:se?r)?=[^&;#]*[&;]p=)"
    r"(?P<value>(?(in_path)(?:(?!_[a-z]+=)[^&;#/])*|[^&;#]*))",
    re.IGNORECASE,
)
"""Of a query, or of a path as some recorders have it: /user=admin_password=SECRET_channel=1_stream=0.sdp.
A plain `p` is a password where it follows a user: ?u=admin&p=SECRET."""
HIDDEN = "***"
_NOT_IN_HOSTS = re.compile(r"[\x00-\x20\x7f]")
_STAND_IN = "\ue000"
"""For each character of a reference: of no meaning in a URL."""


def split_url(url: str) -> SplitResult | None:
    """The parts of a URL; None where brackets do not match, the port is none, or the host holds a space."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises, where the rest does not
    except ValueError:
        return None
    return None if _NOT_IN_HOSTS.search(parts.hostname or "") else parts


def has_sound_address(url: str) -> bool:
    """Whether host and port can be told. What stands before the last '@' may be anything."""
    scheme, slashes, rest = mask_references(url).partition("://")
    return split_url(f"{scheme}{slashes}{rest.rpartition('@')[2]}") is not None


def mask_references(url: str) -> str:
    """A text of the same length, in which no character of a reference can be taken for one of the URL."""
    return REFERENCE.sub(lambda match: _STAND_IN * len(match[0]), url)


def _split(url: str) -> tuple[str, str, str, str] | None:
    """(scheme://, user, password, @host and the rest) of a URL with a password, else None.

    Passwords are often typed without percent-encoding, so that '@', '/', '?' or '#' may stand inside: a
    literal one is taken to reach to the last '@' at all, which at worst hides part of the path. (Only digits
    up to such a character read as a port, and nothing as no password, as they do to every other parser.)
    """
    match = _AUTHORITY.fullmatch(url)
    if match is None:
        return None
    scheme, rest = match["scheme"], match["rest"]
    place = _password_place(mask_references(rest))
    if place is None:
        return None
    start, end = place
    return scheme, rest[: start - 1], rest[start:end], rest[end:]


def _password_place(rest: str) -> tuple[int, int] | None:
    """Where the password starts and ends in what follows the scheme; references are stand-ins."""
    end = re.search(r"[/?#]", rest)
    authority = rest[: end.start()] if end else rest
    user, colon, password = authority.partition(":")
    strict, at, _ = password.rpartition("@")
    if not colon or "@" in user or authority.startswith("[") or (not at and password.isdecimal()):
        return None
    start = len(user) + 1
    if at and not _is_literal(strict.strip(_STAND_IN)):
        return start, start + len(strict)
    last = rest.rfind("@")
    return None if last < start else (start, last)


def _is_literal(secret: str) -> bool:
    return REFERENCE.sub("", unquote(secret)) not in ("", HIDDEN)


def has_literal_password(url: str) -> bool:
    """Whether a password (or a secret query parameter) stands in the URL itself, not by reference."""
    parts = _split(url)
    if parts is not None and _is_literal(parts[2]):
        return True
    return any(_is_literal(match["value"]) for match in _SECRET_PARAMETER.finditer(url))


def redact_url(url: str) -> str:
    """The URL with `***` for every literal secret; fit for logs, messages and tables."""
    parts = _split(url)
    if parts is not None and _is_literal(parts[2]):
        scheme, user, _, rest = parts
        url = f"{scheme}{user}:{HIDDEN}{rest}"
    return _SECRET_PARAMETER.sub(
        lambda match: match["name"] + (HIDDEN if _is_literal(match["value"]) else match["value"]), url
    )


def literal_secrets(url: str) -> list[str]:
    """The password and the secret query parameters that stand in the URL itself, as they stand there."""
    parts = _split(url)
    found = [parts[2]] if parts is not None else []
    found += [match["value"] for match in _SECRET_PARAMETER.finditer(url)]
    return [secret for secret in found if _is_literal(secret)]
