"""Whether this server lives, and whether what it needs answers."""

from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.api.services import Services, services_of
from core.errors import FramewatchError
from core.redis_client import redis_errors

router = APIRouter(prefix="/health", tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether what the answers need is there."""

    status: Literal["ok", "degraded"]
    database: str | None
    """Why the database does not answer; null: it does."""
    redis: str | None
    """Why Redis does not answer; null: it does."""
    workers: int
    """Workers that report themselves."""


@router.head("", include_in_schema=False)
@router.get("", openapi_extra={"security": []})
def health() -> Health:
    """Liveness: the process answers. It asks nothing of Redis or the database, and nobody for a token."""
    return Health()


@router.get("/ready", responses={503: {"model": Readiness, "description": "Something does not answer."}})
def ready(request: Request, response: Response) -> Readiness:
    """Readiness: the database answers, and Redis does. History needs the first alone."""
    services = services_of(request)
    database, (redis, workers) = _database_problem(services), _redis_problem(services)
    healthy = database is None and redis is None
    response.status_code = 200 if healthy else 503
    return Readiness("ok" if healthy else "degraded", database, redis, workers)


def _database_problem(services: Services) -> str | None:
    try:
        services.database.check()
    except FramewatchError as error:
        return str(error)
    return None


def _redis_problem(services: Services) -> tuple[str | None, int]:
    try:
        with redis_errors():
            services.redis.ping()
        return None, len(services.queue.workers())
    except FramewatchError as error:
        return str(error), 0
