"""Who is asking, and whether they may: every request passes here before any route, page or file.

Tokens come as `Authorization: Bearer ...`, or as the cookie of a browser's session. A server that listens on
this machine only may let its people in without either; it then makes sure that they, and no web page in
their browser, are asking.
"""

import hmac
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from app.api.problems import ProblemError
from core.settings import Settings
from storage.database import Database
from storage.roles import Role
from storage.tokens import find_token, hash_secret, token_hash_of_session

SESSION_COOKIE = "framewatch_session"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
FOR_EVERYBODY = ("/login", "/logout")
"""Paths that viewers may POST to."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks."""

    name: str
    """Of the token."""
    role: Role

    @property
    def admin(self) -> bool:
        """Whether they may change anything."""
        return self.role is Role.ADMIN


LOCAL = Access("this machine", Role.ADMIN)
ANYBODY = Access("no token", Role.VIEWER)
"""Who asks whether the process lives; no token has a name with a blank."""
API_TOKEN = Access("api_token", Role.ADMIN)
WRONG_TOKEN = "token: expected a valid one, got one that is wrong, was revoked or has ended"


def access_of(request: Request) -> Access:
    """Who asks, as the guard found out."""
    access: Access = request.state.access
    return access


def is_loopback(host: str) -> bool:
    """Whether a host's name or address always means this machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


class Doorkeeper:
    """Knows tokens and sessions."""

    def __init__(self, settings: Settings, database: Database, *, open_here: bool) -> None:
        self._database = database
        self._open_here = open_here
        """Whether people on this machine need no token."""
        secret = settings.api_token
        self._setting_hash = None if secret is None else hash_secret(secret.get_secret_value())

    async def admit(self, connection: HTTPConnection) -> Access:
        """Who asks. Raises ProblemError: 400 for a foreign host name, 401 without a valid token.

        Raises DatabaseUnavailableError when nobody can tell.
        """
        secret = _bearer(connection)
        if secret is not None:
            access = await run_in_threadpool(self.of_token, secret)
            if access is None:
                raise ProblemError(401, WRONG_TOKEN)
            return access
        session = connection.cookies.get(SESSION_COOKIE)
        access = await run_in_threadpool(self.of_session, session) if session else None
        if access is not None:
            return access
        if self._open_here:
            _require_local(connection)
            return LOCAL
        raise ProblemError(
            401,
            "expected a token (Authorization: Bearer ...) or a session, got neither; "
            "`framewatch token add NAME` makes a token",
        )

    def of_token(self, secret: str) -> Access | None:
        """Whose token it is; None for an invalid one."""
        return self._of_hash(hash_secret(secret))

    def of_session(self, key: str) -> Access | None:
        """Whose session it is; None for an unknown or ended one."""
        sha256 = token_hash_of_session(self._database, key)
        return None if sha256 is None else self._of_hash(sha256)

    def _of_hash(self, sha256: str) -> Access | None:
        if self._setting_hash is not None and hmac.compare_digest(sha256, self._setting_hash):
            return API_TOKEN
        token = find_token(self._database, sha256)
        return None if token is None else Access(token.name, token.role)


def _bearer(connection: HTTPConnection) -> str | None:
    """The secret of the Authorization header; None without one. That of another scheme fits nobody."""
    header = connection.headers.get("authorization")
    if header is None:
        return None
    scheme, _, secret = header.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def require_host(connection: HTTPConnection) -> None:
    """Raises ProblemError 400 for a Host header that is none: no address can be made or read with it."""
    host = connection.headers.get("host", "")
    if _netloc(f"//{host}") is None:
        raise ProblemError(400, f"host: expected NAME or NAME:PORT, got {host!r}")


def _netloc(url: str) -> str | None:
    """Host and port of a URL; None for a text that is no URL."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def _require_local(connection: HTTPConnection) -> None:
    """Refuses names that an attacker's DNS may point at this machine, and what a proxy passes on."""
    host = urlsplit(f"//{connection.headers.get('host', '')}").hostname or ""  # `require_host` went before
    if not is_loopback(host):
        raise ProblemError(
            400,
            f"host: expected localhost or 127.0.0.1 on a server that asks for no token, got {host!r}; "
            "start `framewatch serve` with --require-token to use other names",
        )
    if any(header in connection.headers for header in _FORWARDED):
        raise ProblemError(
            401,
            "expected a request of this machine, got one that a proxy passed on; start `framewatch serve` "
            "with --require-token behind a proxy",
        )


def refuse_other_sites(connection: HTTPConnection, method: str) -> None:
    """Raises ProblemError 403 for what another site's page makes a browser send here."""
    headers = connection.headers
    origin = headers.get("origin")
    changes = method not in SAFE_METHODS
    if origin is not None and changes and _netloc(origin) != headers.get("host", ""):
        raise ProblemError(403, f"origin: expected a page of this server, got {origin!r}")
    fetched_by_page = headers.get("sec-fetch-mode", "navigate") != "navigate"
    if headers.get("sec-fetch-site") == "cross-site" and (changes or fetched_by_page):
        raise ProblemError(403, "expected a page of this server, got a request of another site's page")


def require_right(access: Access, method: str, path: str) -> None:
    """Raises ProblemError 403 when a viewer would change something."""
    if not access.admin and method not in SAFE_METHODS and path not in FOR_EVERYBODY:
        raise ProblemError(
            403, f"expected a token of role admin for {method}, got {access.name!r} of role {access.role}"
        )
