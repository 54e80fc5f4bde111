"""How far a training run is, and what follows from it: learning rate and phase."""

import math
from dataclasses import dataclass

from core.errors import SettingsError
from models.training.augmentation import Strength
from models.training.batches import Phase

DEFAULT_PHASES = (
    Phase(0.55, ((320, 320), (384, 288), (416, 320)), Strength(mosaic=0.6)),
    Phase(0.85, ((448, 352), (384, 384), (512, 384)), Strength(mosaic=0.5)),
    Phase(1.0, ((512, 384), (448, 352)), Strength(mosaic=0.15, min_zoom=0.3, max_zoom=1.2)),
)
"""Small canvases first, the canvas of inference last, mostly without mosaic."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Warm-up, then a cosine, over a number of steps or a budget of hours."""

    steps: int | None
    hours: float | None
    warm_up_steps: int
    phases: tuple[Phase, ...]
    final_share: float = 0.02
    """Learning rate at the end over that at the peak."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.hours is None):
            raise SettingsError("training length: expected either steps or hours; give one of them")
        if not self.phases or self.phases[-1].until < 1.0:
            raise SettingsError("training phases: expected the last one to end at 1.0; extend it")

    def progress(self, step: int, elapsed_s: float) -> float:
        """Share of the run that is done, in [0, 1]."""
        if self.steps is not None:
            return min(1.0, step / max(1, self.steps))
        assert self.hours is not None
        return min(1.0, elapsed_s / (3600 * self.hours))

    def rate(self, step: int, progress: float) -> float:
        """Learning rate as a share of the peak."""
        warm_up = min(1.0, (step + 1) / max(1, self.warm_up_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return warm_up * (self.final_share + (1 - self.final_share) * cosine)

    def phase(self, progress: float) -> Phase:
        """The phase that `progress` falls in."""
        return next((phase for phase in self.phases if progress < phase.until), self.phases[-1])
