"""/metrics: the whole fleet for Prometheus. A server beyond its own machine asks for a token here too."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.services import Services, services_of
from app.metrics import CameraCollector, DepthCollector, LedgerCollector, make_registry
from core.camera_state import CameraState, CameraStates
from core.queue_types import QueueDepth

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Cameras, frames and the queue, as Redis has them now; without Redis, nothing."""
    services = services_of(request)
    registry = make_registry(
        CameraCollector(lambda: _reported_states(services)),
        LedgerCollector(lambda: services.queue.ledgers()),
        DepthCollector(lambda: _depths(services)),
    )
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _reported_states(services: Services) -> list[CameraState]:
    """Without cameras whose ingest process fell silent: what they were doing last is not what they do."""
    now = services.queue.server_time()
    states = CameraStates(services.redis, services.settings.namespace).load()
    return [state for state in states if not state.is_silent(now)]


def _depths(services: Services) -> list[QueueDepth]:
    return [depth for model in services.queue.models() for depth in services.queue.depth(model)]
