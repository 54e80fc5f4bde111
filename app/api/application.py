"""The FastAPI application: what the routes are, not what they do."""

from importlib.metadata import version

from fastapi import FastAPI

from app.api import health
from app.api.services import Services


def create_app(services: Services) -> FastAPI:
    """The whole HTTP interface on these services, which the caller closes."""
    app = FastAPI(title="framewatch", version=version("framewatch"), docs_url="/api/docs", redoc_url=None)
    app.state.services = services
    app.include_router(health.router, prefix="/api")
    return app
