"""Secrets in URLs: found, and kept out of what people and logs see."""

import re
from urllib.parse import unquote

_AUTHORITY = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>.*)", re.DOTALL)
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&;][^=&;#]*"
    r"(?:pass|passwd|password|passphrase|loginpas|pwd|psw|token|secret|auth|api[_-]?key|credentials?)=)"
    r"(?P<value>[^&;#]*)",
    re.IGNORECASE,
)
HIDDEN = "***"


def _split(url: str) -> tuple[str, str, str, str] | None:
    """(scheme://, user, password, @host and the rest) of a URL with a password, else None.

    Passwords are often typed without percent-encoding, so that '@', '/', '?' or '#' may stand inside: a
    literal one is taken to reach to the last '@' at all, which at worst hides part of the path. (Only digits
    up to such a character read as a port, and nothing as no password, as they do to every other parser.)
    """
    match = _AUTHORITY.fullmatch(url)
    if match is None:
        return None
    rest = match["rest"]
    end = re.search(r"[/?#]", rest)
    authority = rest[: end.start()] if end else rest
    user, colon, password = authority.partition(":")
    strict, at, _ = password.rpartition("@")
    if not colon or "@" in user or authority.startswith("[") or (not at and password.isdecimal()):
        return None
    if at and not _is_literal(strict):
        return match["scheme"], user, strict, rest[len(user) + 1 + len(strict) :]
    last = rest.rfind("@")
    if last < len(user) + 1:
        return None
    return match["scheme"], user, rest[len(user) + 1 : last], rest[last:]


def _is_literal(secret: str) -> bool:
    return _REFERENCE.sub("", unquote(secret)) not in ("", HIDDEN)


def has_literal_password(url: str) -> bool:
    """Whether a password (or a secret query parameter) stands in the URL itself, not as `${NAME}`."""
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
