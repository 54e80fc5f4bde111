"""Adds the dashboard's pages to the HTTP application."""

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from app.dashboard import cameras, history, live_stream, system, wall

STATIC = Path(__file__).parent / "static"


def add_dashboard(app: FastAPI) -> None:
    """Pages at /, /history, /cameras/NAME, /add and /system, and what they load from /static and /live.

    For an application of `app.api.application.create_app`, whose guard stands before these paths too.
    """
    for pages in (wall, history, cameras, system, live_stream):
        app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
