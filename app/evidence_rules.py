"""Evidence rules as people type them: `person,truck every=60s what=crop margin=0.1 min_score=0.5`."""

from typing import Any

from app.times import parse_span
from core.errors import SettingsError
from core.evidence_policy import EvidenceKind, EvidenceRule

_FORM = "[CLASS,...] [every=60s] [what=crop|frame] [margin=0.1] [min_score=0.5]"


def parse_rule(text: str) -> EvidenceRule:
    """A rule; without classes, or with `all`, it is about every class. Raises SettingsError."""
    words = text.split()
    named = " ".join(word for word in words if "=" not in word)  # a class name may hold spaces
    classes = tuple(name for part in named.split(",") if (name := part.strip()))
    given: dict[str, Any] = {} if classes in ((), ("all",)) else {"classes": classes}
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            given |= _option(text, name.replace("-", "_"), value)
    return EvidenceRule(**given)


def _option(text: str, name: str, value: str) -> dict[str, Any]:
    try:
        if name == "every":
            span = parse_span(value)
            return {"every_s": span.total_seconds() if span is not None else float(value)}
        if name == "what":
            return {"what": EvidenceKind(value)}
        if name in ("margin", "min_score"):
            return {name: float(value)}
    except ValueError:
        pass
    raise SettingsError(f"--evidence: expected '{_FORM}', got {name}={value} in {text!r}")
