"""A camera from nothing but its URL: the defaults that suit recordings and live sources."""

import re
from pathlib import PurePosixPath
from typing import Any

from core.types import Camera, Policy
from core.urls import HIDDEN, redact_url, split_url
from ingest.sources import is_recorded

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
_HIDDEN_PARAMETER = re.compile(rf"[/_?&;]?[^/_?&;=]*={re.escape(HIDDEN)}")
_LONGEST_NAME = 63


def camera_for(url: str, name: str | None = None, **options: Any) -> Camera:
    """A camera with the policy that its kind of source needs; `options` are further fields of Camera.

    A recording waits for room and never turns stale, so that no frame of it is lost; a live camera drops the
    oldest frame and what is older than ten seconds. Raises SourceError for an unknown kind of URL.
    """
    if is_recorded(url) and not options.get("loop"):
        options = {"policy": Policy.WAIT, "max_age_s": None} | options
    return Camera(name=name or name_from(url), url=url, **options)


def name_from(url: str) -> str:
    """A camera name from a URL: the file's stem, or host and path without login, query and passwords."""
    shown = _HIDDEN_PARAMETER.sub("", redact_url(url))
    if is_recorded(url):
        said = PurePosixPath(shown.rstrip("/")).stem
    else:
        parts = split_url(shown)
        said = f"{parts.netloc.rpartition('@')[2]}{parts.path}" if parts else ""
    name = _NOT_IN_NAMES.sub("-", said).strip("-._")
    return name[:_LONGEST_NAME] or "camera"
