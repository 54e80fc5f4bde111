"""Adds the dashboard's pages to the HTTP application."""

from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.dashboard import cameras, history, live_stream, system, wall
from app.dashboard.pages import render

STATIC = Path(__file__).parent / "static"


def add_dashboard(app: FastAPI) -> None:
    """Pages at /, /history, /cameras/NAME, /add and /system; they load from /static and /live.

    For an application of `app.api.application.create_app`, whose guard stands before these paths too.
    """
    for pages in (wall, history, cameras, system, live_stream):
        app.include_router(pages.router)
    app.mount("/static", _Files(directory=STATIC), name="static")
    _answer_people_with_pages(app)


def _answer_people_with_pages(app: FastAPI) -> None:
    """What is not there is told to people as a page, to programs as before."""
    to_programs = app.exception_handlers[HTTPException]

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        asks_api = request.url.path.startswith("/api/")
        unknown = not hasattr(request.state, "access")  # who sends too much in place of a token
        if asks_api or unknown or "text/html" not in request.headers.get("accept", ""):
            refusal: Response = await to_programs(request, error)  # type: ignore[misc]
            return refusal
        title = "There is no such page" if error.status_code == 404 else HTTPStatus(error.status_code).phrase
        message = f"{request.method} {request.url.path}"
        return render(
            request, "error.html", error.status_code, title=title, message=message, kind="", retry=False
        )

    app.add_exception_handler(HTTPException, answer)


class _Files(StaticFiles):
    """Browsers keep the files and ask whether they are still right: an upgrade shows at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or that the browser's copy is right."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
