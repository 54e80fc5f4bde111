"""The FastAPI application: what it is made of, not what the parts do."""

from importlib.metadata import version

from fastapi import Depends, FastAPI

from app.api import cameras, documentation, evidence, fleet, health, history, live, login, metrics
from app.api.access import Doorkeeper
from app.api.guard import Guard
from app.api.live_streams import LiveStreams
from app.api.parameters import refuse_unknown
from app.api.problems import answer_problems, describe_problems
from app.api.services import Services
from app.api.streaming import ExportSlots

_FOR_ALL = describe_problems(400, 401, 403, 413, 422, 429, 503)
"""What the guard, the database and a look at the parameters may answer to anything."""


def create_app(services: Services, *, open_here: bool = True) -> FastAPI:
    """The whole HTTP interface on these services, which the caller closes.

    `open_here` lets requests to a name of this machine in without a token; all others need one, whatever
    they ask for. Routes and files that are added later are guarded likewise.
    """
    doorkeeper = Doorkeeper(services.settings, services.database, open_here=open_here)
    app = FastAPI(
        title="framewatch",
        version=version("framewatch"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.services, app.state.doorkeeper = services, doorkeeper
    app.state.export_slots, app.state.live_streams = ExportSlots(), LiveStreams(doorkeeper)
    app.add_middleware(
        Guard, doorkeeper=doorkeeper, requests_per_minute=services.settings.api_requests_per_minute
    )
    answer_problems(app)
    app.include_router(login.router)
    app.include_router(metrics.router)
    documentation.add_pages(app)
    documentation.describe(app)
    for part in (health, cameras, history, evidence, live, fleet):
        app.include_router(
            part.router, prefix="/api", responses=_FOR_ALL, dependencies=[Depends(refuse_unknown)]
        )
    return app
