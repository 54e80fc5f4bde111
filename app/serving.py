"""`framewatch serve`: the HTTP application on a socket, until it is stopped."""

import contextlib
import logging
import signal
import socket
from collections.abc import Iterator

import uvicorn

from app.api.access import is_loopback
from app.api.application import create_app
from app.api.services import Services
from app.dashboard.application import add_dashboard
from app.database_access import opened_database
from app.live_hub import LiveHub
from app.upkeep import Upkeep, upkeep_rounds
from core.errors import SettingsError
from core.settings import Settings
from storage.database import Database
from storage.tokens import list_tokens

LOG = logging.getLogger(__name__)
STOP_WITHIN_S = 5
"""Answers that take longer are cut off."""


def serve_until_stopped(settings: Settings, host: str, port: int, *, require_token: bool = False) -> None:
    """Serves until SIGTERM or SIGINT, and removes what is too old. Raises UsageError for a wrong setting.

    Who listens beyond this machine, or on behalf of a proxy, needs a token to ask for.
    """
    with listening_socket(host, port) as listener, opened_database(settings, create=True) as database:
        open_here = is_loopback(listener.getsockname()[0]) and not require_token
        if not open_here:
            require_some_token(settings, database)
        services = Services(settings, database)
        upkeep = Upkeep(upkeep_rounds(settings, database, services.evidence))
        with contextlib.closing(services), contextlib.closing(upkeep):
            upkeep.start()
            app = create_app(services, open_here=open_here)
            add_dashboard(app)
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=STOP_WITHIN_S,
            )
            LOG.info("serving on %s", address_of(listener))
            _Server(config, services.live_hub).run(sockets=[listener])


def require_some_token(settings: Settings, database: Database) -> None:
    """Raises SettingsError unless anybody at all could be let in."""
    if settings.api_token is None and not list_tokens(database):
        raise SettingsError(
            "expected a token where others than this machine may ask, got none; make one with "
            "`framewatch token add NAME`, or leave out --host and --require-token"
        )


@contextlib.contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket. Raises SettingsError for an address that cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise SettingsError(
            f"expected an address that this machine can listen on, got {host} port {port}: {error.strerror}; "
            "choose another --host or --port"
        ) from error
    with listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Ends with exit code 0 at SIGTERM and SIGINT, like the other services."""

    def __init__(self, config: uvicorn.Config, live_hub: LiveHub) -> None:
        super().__init__(config)
        self._live_hub = live_hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends live streams first, which would have it wait, then cut them off with an error."""
        self._live_hub.end_viewers()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises the signal again when it has stopped, which ends the process with it."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
