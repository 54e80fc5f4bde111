"""Query parameters that a route does not know are refused: a misspelt filter must not pass for none."""

from collections.abc import Sequence
from dataclasses import dataclass
from re import Pattern
from typing import Any

from fastapi import FastAPI, Request
from starlette.routing import compile_path

from app.api.problems import ProblemError


@dataclass(frozen=True, slots=True)
class _Route:
    path: Pattern[str]
    known: dict[str, frozenset[str]]
    """Query parameters by method."""


def refuse_unknown(request: Request) -> None:
    """Raises ProblemError 422, naming the first query parameter that the description does not have."""
    if not request.query_params:
        return
    state = request.app.state
    if not hasattr(state, "known_parameters"):
        state.known_parameters = _read_description(request.app)
    routes: Sequence[_Route] = state.known_parameters
    fitting = [route.known for route in routes if route.path.match(request.url.path)]
    known = frozenset().union(*(methods.get(request.method, frozenset()) for methods in fitting))
    for name in request.query_params:
        if name not in known:
            expected = f"any of {', '.join(sorted(known))}" if known else "no parameters"
            raise ProblemError(422, f"{name[:100]}: expected {expected}, got an unknown parameter")


def _read_description(app: FastAPI) -> Sequence[_Route]:
    paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
    return [
        _Route(
            compile_path(path)[0],
            {
                method.upper(): frozenset(
                    one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"
                )
                for method, operation in methods.items()
            },
        )
        for path, methods in paths.items()
    ]
