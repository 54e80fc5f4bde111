"""Failures as answers: RFC 9457 problem details whose `detail` says what was expected, got and to do."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from core.errors import (
    CameraNotFoundError,
    DatabaseUnavailableError,
    EvidenceUnavailableError,
    FramewatchError,
    ModelNotFoundError,
    QueueUnavailableError,
    UsageError,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string", "description": "What the status code means."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was expected, what was got, what to do."},
    },
}


class ProblemError(Exception):
    """Ends a request with a status code and a reason."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides, for its description in OpenAPI."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": SCHEMA}}}
        for status in statuses
    }


def answer_problem(problem: ProblemError) -> JSONResponse:
    """The answer that tells it."""
    title = HTTPStatus(problem.status).phrase
    content = {"title": title, "status": problem.status, "detail": problem.detail}
    return JSONResponse(content, problem.status, problem.headers, MEDIA_TYPE)


_STATUS: dict[type[FramewatchError], int] = {
    CameraNotFoundError: 404,
    ModelNotFoundError: 404,
    QueueUnavailableError: 503,
    DatabaseUnavailableError: 503,
    EvidenceUnavailableError: 503,
    UsageError: 400,
}
"""Status code by the first kind that fits. 422 is for what the description (OpenAPI) rules out."""


def problem_of(error: FramewatchError) -> ProblemError:
    """What to answer when framewatch raised this."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    return ProblemError(status, str(error), headers)


def answer_problems(app: FastAPI) -> None:
    """Makes every failure of the application's routes an answer of this kind."""
    app.add_exception_handler(ProblemError, _of_problem)
    app.add_exception_handler(FramewatchError, _of_framewatch)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)


async def _of_problem(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, ProblemError)
    return answer_problem(error)


async def _of_framewatch(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, FramewatchError)
    return answer_problem(problem_of(error))


async def _of_validation(request: Request, error: Exception) -> JSONResponse:
    """One line about the first wrong part of a request; never its value where that may be a secret."""
    del request
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or first["loc"][0]
    shown = isinstance(first.get("input"), str | int | float) and "url" not in first["loc"]
    got = f", got {str(first['input'])[:100]!r}" if shown else ""
    return answer_problem(ProblemError(422, f"{where}: {first['msg']}{got}"))


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        detail = f"expected a path of this server, got {request.url.path!r}; /api/docs lists them"
    methods = _methods_of(request)
    if error.status_code == 405 and methods:
        headers["Allow"] = ", ".join(methods)
        detail = f"expected {' or '.join(methods)} for {request.url.path}, got {request.method}"
    return answer_problem(ProblemError(error.status_code, detail, headers))


def _methods_of(request: Request) -> list[str]:
    """What the API's description allows for a path; routes know only their own methods."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    fitting = (of for path, of in paths.items() if compile_path(path)[0].match(request.url.path))
    return sorted({method.upper() for methods in fitting for method in methods})
