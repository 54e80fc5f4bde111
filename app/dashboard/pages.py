"""How every page is made: templates, headers, and errors that say what to do next."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined

from app.annotate import class_color
from app.api.access import SESSION_COOKIE, access_of
from app.times import format_age, format_iso, format_minute, format_moment
from core.errors import (
    CameraNotFoundError,
    DatabaseUnavailableError,
    FramewatchError,
    QueueUnavailableError,
    UsageError,
)

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
REFRESH_HEADER = "Framewatch-Refresh"
THEME_COOKIE = "framewatch_theme"
THEMES = ("auto", "light", "dark")


def css_color(class_name: str) -> str:
    """The colour that a class has everywhere, as `#rrggbb`."""
    blue, green, red = class_color(class_name)
    return f"#{red:02x}{green:02x}{blue:02x}"


def css_ink(class_name: str) -> str:
    """The colour of text on the class's colour."""
    blue, green, red = class_color(class_name)
    return "#141414" if 0.114 * blue + 0.587 * green + 0.299 * red > 110 else "#ffffff"  # ITU-R BT.601


@lru_cache
def templates() -> Environment:
    """The page templates, with what all of them use."""
    environment = Environment(
        loader=PackageLoader("app.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": format_age,
        "iso": format_iso,
        "minute": format_minute,
        "moment": format_moment,
        "path": lambda text: quote(text, safe=""),
        "color": css_color,
    }
    environment.globals |= {"version": version("framewatch")}
    return environment


def render(request: Request, template: str, status_code: int = 200, **context: Any) -> HTMLResponse:
    """A page or a part of one."""
    theme = request.cookies.get(THEME_COOKIE)
    page = templates().get_template(template)
    html = page.render(
        request=request,
        theme=theme if theme in THEMES else "auto",
        access=access_of(request),
        logged_in=SESSION_COOKIE in request.cookies,
        now=datetime.now(UTC),
        **context,
    )
    return HTMLResponse(html, status_code, HEADERS)


def is_refresh(request: Request) -> bool:
    """Whether a page that is open takes over its parts with data-refresh, and shows no other."""
    return REFRESH_HEADER in request.headers


def see_other(path: str) -> RedirectResponse:
    """Where to look after a form was sent: a reload does not send it again."""
    return RedirectResponse(path, 303, HEADERS)


class PageRoute(APIRoute):
    """A route whose failures are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, with an error page for what framewatch raises."""
        handle = super().get_route_handler()

        async def handle_or_explain(request: Request) -> Response:
            try:
                return await handle(request)
            except FramewatchError as error:
                return error_page(request, error)

        return handle_or_explain


def error_page(request: Request, error: FramewatchError) -> HTMLResponse:
    """What is wrong and what to do about it; a page about a service that is away looks again by itself."""
    kind, (title, status_code) = next(
        (kind, what) for kind, what in _ERRORS.items() if isinstance(error, kind)
    )
    return render(
        request,
        "error.html",
        status_code,
        title=title,
        message=str(error),
        kind=kind.__name__,
        retry=status_code == 503,
    )


_ERRORS: dict[type[FramewatchError], tuple[str, int]] = {
    QueueUnavailableError: ("Redis is away", 503),
    DatabaseUnavailableError: ("The database is away", 503),
    CameraNotFoundError: ("No such camera", 404),
    UsageError: ("That cannot be done", 400),
    FramewatchError: ("Something failed", 500),
}
"""Title and status code by the first kind that fits."""
