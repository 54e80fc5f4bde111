"""The middleware around everything that the server has: access, rates, and headers that browsers heed."""

import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app.api.access import (
    ANYBODY,
    SESSION_COOKIE,
    Access,
    Doorkeeper,
    refuse_other_sites,
    require_host,
    require_right,
)
from app.api.login import login_page
from app.api.problems import ProblemError, answer_problem
from core.errors import FramewatchError

TRIES_PER_MINUTE = 20
"""Log-ins, wrong tokens and ended sessions that one address has free."""
MOST_BODY_BYTES = 1024 * 1024
_TOO_LARGE = f"expected a body of at most {MOST_BODY_BYTES} bytes, got more"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Answers by itself what may not pass; everything else finds in `request.state.access` who asks."""

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper, requests_per_minute: int) -> None:
        self._app = app
        self._doorkeeper = doorkeeper
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._rate = RateLimitItemPerMinute(requests_per_minute)
        self._tries = RateLimitItemPerMinute(TRIES_PER_MINUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        answer: ASGIApp = self._app
        try:
            if scope["type"] != "http":
                raise ProblemError(403, "expected HTTP, got a WebSocket")
            await self._examine(connection)
        except ProblemError as problem:
            answer = _refusal(connection, problem)
        except FramewatchError as error:  # the database cannot tell who asks
            answer = _refusal(connection, ProblemError(503, str(error)))
        await answer(scope, _bounded(receive), _with_headers(send))

    async def _examine(self, connection: HTTPConnection) -> None:
        method, path = connection.scope["method"], connection.scope["path"]
        require_host(connection)
        refuse_other_sites(connection, method)
        _require_small(connection)
        address = connection.client.host if connection.client else "unknown"
        if path == "/login" and method == "POST":  # it looks at the token itself, and fails with 401
            await self._count_try(address)
            return
        access = ANYBODY if _asks_for_life(method, path) else await self._admit(connection, address)
        await self._count_request(access, address)
        require_right(access, method, path)
        connection.state.access = access

    async def _admit(self, connection: HTTPConnection, address: str) -> Access:
        try:
            return await self._doorkeeper.admit(connection)
        except ProblemError as problem:
            # Who has a right token is let in however many wrong ones come from his address.
            guessed = "authorization" in connection.headers or SESSION_COOKIE in connection.cookies
            if problem.status == 401 and guessed:
                await self._count_try(address)
            raise

    async def _count_try(self, address: str) -> None:
        if not await self._limiter.hit(self._tries, "tries", address):
            raise await self._too_many(self._tries, "tries", address)

    async def _count_request(self, access: Access, address: str) -> None:
        if not await self._limiter.hit(self._rate, access.name, address):
            raise await self._too_many(self._rate, access.name, address)

    async def _too_many(self, rate: RateLimitItemPerMinute, *who: str) -> ProblemError:
        window = await self._limiter.get_window_stats(rate, *who)
        wait_s = max(1, round(window.reset_time - time.time()))
        what = "tries with a token" if rate is self._tries else "requests"
        return ProblemError(
            429,
            f"expected at most {rate.amount} {what} a minute, got more; wait {wait_s} s",
            {"Retry-After": str(wait_s)},
        )


def _asks_for_life(method: str, path: str) -> bool:
    """Whether nothing is asked but that this process answers: that must not hang on the database."""
    return path == "/api/health" and method in ("GET", "HEAD")


def _require_small(connection: HTTPConnection) -> None:
    length = connection.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MOST_BODY_BYTES:
        raise ProblemError(413, _TOO_LARGE)


def _bounded(receive: Receive) -> Receive:
    """Receives bodies up to MOST_BODY_BYTES, whatever their headers say of their length."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MOST_BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE)  # which FastAPI passes on, while it reads a body
        return message

    return receive_bounded


def _refusal(connection: HTTPConnection, problem: ProblemError) -> ASGIApp:
    """The answer in place of the application's: to a person without access, the page to log in on."""
    if connection.scope["type"] == "websocket":
        return WebSocketClose(reason=problem.detail)
    if problem.status != 401:
        return answer_problem(problem)
    problem.headers["WWW-Authenticate"] = 'Bearer realm="framewatch"'
    wants_page = "text/html" in connection.headers.get("accept", "")
    if wants_page and connection.scope["method"] in ("GET", "HEAD"):
        return login_page(connection, problem)
    return answer_problem(problem)


def _with_headers(send: Send) -> Send:
    """Sends what the application sends, with headers that it did not set itself."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
