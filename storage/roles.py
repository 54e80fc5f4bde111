"""What the holder of a token of the HTTP API may do; apart from `tokens`, for commands to start fast."""

from enum import StrEnum


class Role(StrEnum):
    """What the holder of a token may do."""

    VIEWER = "viewer"
    """Look at everything, change nothing."""
    ADMIN = "admin"
