"""How long the history is kept, as people type it: `30d, gate=90d, */truck=52w, gate/person=7d`."""

from app.times import parse_span
from core.errors import SettingsError
from storage.retention_policy import RetentionPolicy, RetentionRule

_FORM = "spans such as '30d, gate=90d, */truck=52w, gate/person=forever'"


def parse_retention(text: str) -> RetentionPolicy:
    """The policy of the setting `retention`; nothing keeps all for ever. Raises SettingsError."""
    rules = [parse_rule(part.strip()) for part in text.split(",") if part.strip()]
    subjects = [(rule.camera, rule.class_name) for rule in rules]
    for subject in subjects:
        if subjects.count(subject) > 1:
            raise SettingsError(
                f"retention: expected one span for {_describe(*subject)}, got two in {text!r}"
            )
    return RetentionPolicy(tuple(rules))


def parse_rule(text: str) -> RetentionRule:
    """One part of it: SPAN, CAMERA=SPAN, */CLASS=SPAN or CAMERA/CLASS=SPAN. Raises SettingsError."""
    subject, equals, span = text.rpartition("=")
    camera, _, class_name = (part.strip() for part in subject.partition("/"))
    if (equals and not camera) or ("/" in subject and not class_name):
        raise SettingsError(f"retention: expected {_FORM}, got {text!r}")
    word = span.strip().lower()
    keep = None if word == "forever" else parse_span(word)
    if word != "forever" and not keep:
        raise SettingsError(f"retention: expected {_FORM}, got {text!r}")
    return RetentionRule(keep, _none_of_star(camera), _none_of_star(class_name))


def _none_of_star(name: str) -> str | None:
    return None if name in ("", "*") else name


def _describe(camera: str | None, class_name: str | None) -> str:
    if camera is None and class_name is None:
        return "everything"
    return f"{camera or '*'}/{class_name}" if class_name else str(camera)
