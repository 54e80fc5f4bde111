"""Whether this server lives, and whether what it needs answers."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


@router.get("/health")
def health() -> Health:
    """Liveness: the process answers. It asks nothing of Redis or the database."""
    return Health()
