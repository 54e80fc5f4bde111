"""How long detections are kept, per camera and class."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Detections of this camera and class are kept for so long; None stands for all cameras or classes."""

    keep: timedelta | None
    """None: for ever."""
    camera: str | None = None
    class_name: str | None = None


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Rules; the closest one counts: camera and class, then class, then camera, then all.

    What no rule is about is kept for ever.
    """

    rules: tuple[RetentionRule, ...] = ()

    def keep(self, camera: str, class_name: str) -> timedelta | None:
        """How long this camera's detections of a class are kept; None: for ever."""
        return self._first_of((camera, class_name), (None, class_name), (camera, None), (None, None))

    def keep_longest(self, camera: str) -> timedelta | None:
        """How long a camera's frames are kept: as long as any of its detections; None: for ever."""
        classes = {rule.class_name for rule in self.rules if rule.camera in (None, camera)} - {None}
        of_others = self._first_of((camera, None), (None, None))
        keeps = [of_others, *(self.keep(camera, name) for name in classes if name is not None)]
        known = [keep for keep in keeps if keep is not None]
        return max(known) if len(known) == len(keeps) else None

    def _first_of(self, *subjects: tuple[str | None, str | None]) -> timedelta | None:
        """What the rule says that is about the first of these cameras and classes; None: no rule is."""
        for subject in subjects:
            for rule in self.rules:
                if (rule.camera, rule.class_name) == subject:
                    return rule.keep
        return None
