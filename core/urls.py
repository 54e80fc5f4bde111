"""Secrets in URLs: found, and kept out of what people and logs see."""

import re
from urllib.parse import unquote

_AUTHORITY = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>.*)", re.DOTALL)
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&;][^=&;#]*(?:pass|pwd|token|secret|auth|api_?key|credential)[^=&;#]*=)(?P<value>[^&;#]*)",
    re.IGNORECASE,
)
HIDDEN = "***"


def _split(url: str) -> tuple[str, str, str, str] | None:
    """(scheme://, user, password, @host and the rest) of a URL with a password, else None.

    Passwords are often typed without percent-encoding, so that '@', '/', '?' or '#' may stand inside:
    the password then reaches to the last '@' before the path, or to the last one at all.
    """
    match = _AUTHORITY.fullmatch(url)
    if match is None:
        return None
    rest = match["rest"]
    end = re.search(r"[/?#]", rest)
    authority = rest[: end.start()] if end else rest
    at = authority.rfind("@")
    if at < 0:
        _, colon, after = authority.partition(":")
        looks_like_host = not colon or authority.startswith("[") or after == "" or after.isdecimal()
        at = -1 if looks_like_host else rest.rfind("@")
    if at < 0:
        return None
    user, colon, password = rest[:at].partition(":")
    if not colon:
        return None
    return match["scheme"], user, password, rest[at:]


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
