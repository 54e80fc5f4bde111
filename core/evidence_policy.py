"""What pictures a camera keeps as evidence: rules that travel with its frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from core.errors import SettingsError

LONGEST_INTERVAL_S = 86_400.0


class EvidenceKind(StrEnum):
    """What is kept of the best frame."""

    CROP = "crop"
    """The detection with a margin around it."""
    FRAME = "frame"
    """The whole picture as it was detected on."""


@dataclass(frozen=True, slots=True)
class EvidenceRule:
    """Keep one picture per interval and class: that of the detection with the best score."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    classes: tuple[str, ...] = ()
    """Class names that it is about; empty: all."""
    every_s: float = 60.0
    """Length of an interval; intervals are counted from 1970-01-01T00:00Z, by captured_at."""
    what: EvidenceKind = EvidenceKind.CROP
    margin: float = 0.1
    """Of a crop, on each side, in parts of the box's width and height."""
    min_score: float = 0.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.every_s <= LONGEST_INTERVAL_S:
            raise SettingsError(f"evidence: expected every_s from 1 to 86400 seconds, got {self.every_s}")
        if not 0.0 <= self.margin <= 10.0:
            raise SettingsError(f"evidence: expected margin from 0 to 10, got {self.margin}")
        if not 0.0 <= self.min_score <= 1.0:
            raise SettingsError(f"evidence: expected min_score from 0 to 1, got {self.min_score}")

    def __str__(self) -> str:
        names = ",".join(self.classes) or "all"
        extra = f" margin={self.margin:g}" if self.what is EvidenceKind.CROP else ""
        return f"{names} every={self.every_s:g}s what={self.what.value}{extra} min_score={self.min_score:g}"


_RULES: TypeAdapter[tuple[EvidenceRule, ...]] = TypeAdapter(tuple[EvidenceRule, ...])


def dump_rules(rules: tuple[EvidenceRule, ...]) -> str:
    """The rules as JSON, for a frame's header; nothing for none."""
    return _RULES.dump_json(rules, exclude_defaults=True).decode() if rules else ""


@lru_cache(maxsize=256)  # every frame of a camera carries the same text
def load_rules(text: str) -> tuple[EvidenceRule, ...]:
    """The inverse of `dump_rules`."""
    return _RULES.validate_json(text) if text else ()


def rule_for(rules: Sequence[EvidenceRule], class_name: str) -> EvidenceRule | None:
    """The first rule that is about the class."""
    return next((rule for rule in rules if not rule.classes or class_name in rule.classes), None)
