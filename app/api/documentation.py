"""The API's description for people, with assets of its own: it works without the internet."""

from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from app.api.access import SESSION_COOKIE

_ASSETS = "/api/docs/assets"
_ABOUT = """Cameras, and the history of what they saw.

Times are UTC; boxes are in pixels of the camera's own picture, x, y is the top-left corner. Failures are
problem details (RFC 9457) whose `detail` says what was expected, what was got, and what to do.

Requests carry `Authorization: Bearer TOKEN` (`framewatch token add NAME` makes one) or the cookie of a
browser's session. A server that listens on its own machine alone asks for neither. Tokens of role
viewer may read; only those of role admin may change anything.
"""
_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
}


def describe(app: FastAPI) -> None:
    """Has the description (OpenAPI) say what holds for every route."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=_ABOUT,
                routes=app.routes,
                license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            )
            schema["components"]["securitySchemes"] = _SCHEMES
            schema["security"] = [{name: []} for name in _SCHEMES]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def add_pages(app: FastAPI) -> None:
    """Adds Swagger UI at /api/docs."""
    app.mount(_ASSETS, StaticFiles(directory=str(files("fastapi_offline") / "static")), name="docs-assets")

    @app.get("/api/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        """The page that reads the description and offers to try it."""
        return get_swagger_ui_html(
            openapi_url=str(app.openapi_url),
            title="framewatch API",
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS}/favicon.png",
        )
