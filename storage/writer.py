"""Writes the results of the workers: one transaction per batch, harmless when repeated."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.types import FrameResult, WeightsInfo
from storage.database import Database


@dataclass(frozen=True, slots=True)
class WriteSummary:
    """What one batch added; a repeated batch adds nothing."""

    frames: int
    """Frames that were not in the database yet."""
    detections: int
    """Detections of those frames."""


class Writer:
    """Stores batches of results; threads may share one."""

    def __init__(self, database: Database) -> None: ...

    def write(self, results: Sequence[FrameResult], weights: WeightsInfo) -> WriteSummary:
        """Commits all frames and detections of a batch, or nothing.

        Cameras and models are known by name and made when missing. A frame that is stored already (same camera,
        captured_at, index and weights) stays as it is, with its detections.

        Raises DatabaseUnavailableError when the batch is not stored and may be tried again.
        """
        raise NotImplementedError
