"""ONVIF cameras: asked by SOAP where their stream is, which is then read over RTSP.

The library (onvif-python, on zeep) is loaded only where a camera is of this kind: it takes a second.
"""

import logging
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlunsplit

from core.errors import SourceError, SourceLostError, SourceRefusedError
from core.urls import split_url
from ingest.sources.rtsp import open_rtsp
from ingest.sources.source import SourceOptions
from ingest.sources.streams import NetworkStream

_HTTP_PORT = 80
_RTSP_OVER_TCP = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
_UNAUTHORIZED = re.compile(r"NotAuthorized|FailedAuthentication|\b40[13]\b")


def open_onvif(url: str, options: SourceOptions) -> NetworkStream:
    """Connects to the stream of the camera's first profile, or of `?profile=TOKEN`.

    Raises SourceError for a URL without a host or an unknown profile, SourceRefusedError for a wrong login,
    SourceLostError for the rest.
    """
    return open_rtsp(find_stream(url, options), options)


def find_stream(url: str, options: SourceOptions) -> str:
    """The RTSP URL of an ONVIF camera, with the login of its own URL. Raises as `open_onvif`."""
    parts = split_url(url)
    if parts is None or not parts.hostname:
        raise SourceError(
            f"expected onvif://[USER:PASSWORD@]HOST[:PORT][?profile=TOKEN], got {options.shown_as}"
        )
    wanted = parse_qs(parts.query).get("profile", [None])[0]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname  # IPv6
    media = _connect(host, parts.port or _HTTP_PORT, parts, options)
    profiles = _ask(options, media.GetProfiles)
    token = _choose([str(profile.token) for profile in profiles or ()], wanted, options.shown_as)
    answer = _ask(options, media.GetStreamUri, StreamSetup=_RTSP_OVER_TCP, ProfileToken=token)
    stream = split_url(str(answer.Uri))
    if stream is None:
        raise SourceLostError(f"{options.shown_as}: expected the URI of a stream, got none")
    return _with_login(stream, host, parts)


def _connect(host: str, port: int, parts: SplitResult, options: SourceOptions) -> Any:
    """The camera's media service."""
    from onvif import ONVIFClient
    from onvif.operator import CacheMode

    for name in ("onvif", "zeep"):  # what went wrong is said here, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    client = _ask(
        options,
        ONVIFClient,
        host,
        port,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        timeout=math.ceil(options.open_timeout_s),
        cache=CacheMode.NONE,
        use_https=port == 443,
    )
    return _ask(options, client.media)


def _ask(options: SourceOptions, question: Any, *words: Any, **named: Any) -> Any:
    from onvif import ONVIFOperationException

    try:
        return question(*words, **named)
    except ONVIFOperationException as error:
        _give_up(options.shown_as, error)


def _give_up(name: str, error: Exception) -> NoReturn:
    """Tells apart a wrong login and the rest; the library's own text may hold anything that was sent."""
    reason = str(error)
    if _UNAUTHORIZED.search(reason):
        raise SourceRefusedError(f"{name}: the camera refused the user or password (ONVIF)") from None
    cause = getattr(error, "original_exception", error)
    raise SourceLostError(f"{name}: no usable ONVIF answer: {type(cause).__name__}") from None


def _choose(tokens: Sequence[str], wanted: str | None, name: str) -> str:
    if not tokens:
        raise SourceLostError(f"{name}: expected media profiles, got none")
    if wanted is None:
        return tokens[0]
    if wanted not in tokens:
        raise SourceError(f"{name}: expected profile={' or '.join(tokens)}, got {wanted}")
    return wanted


def _with_login(stream: SplitResult, host: str, parts: SplitResult) -> str:
    """The stream's URI at the host that answered (behind a router, cameras name another), with its login."""
    login = ""
    if parts.username:
        login = quote(unquote(parts.username), safe="")
        login += f":{quote(unquote(parts.password or ''), safe='')}@"
    port = f":{stream.port}" if stream.port else ""
    return urlunsplit((stream.scheme or "rtsp", f"{login}{host}{port}", stream.path, stream.query, ""))
