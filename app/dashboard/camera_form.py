"""A camera as a form: what stands in its fields, and the camera that the filled fields mean."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from starlette.datastructures import FormData

from app.camera_options import parse_polygon
from app.cameras_file import make_camera, waits
from app.evidence_rules import parse_rule
from app.filters import split_names
from core.errors import SettingsError
from core.types import Camera, Policy, Transport
from core.urls import HIDDEN, redact_url


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the form besides name, url and the switches."""

    name: str
    label: str
    help: str = ""
    choices: tuple[str, ...] = ()
    """With choices it is a list; the empty one stands for the default."""
    is_number: bool = False


BASIC = (
    Field("fps", "Frames per second to analyse", "empty: every frame", is_number=True),
    Field("classes", "Only these classes", "parted by commas; empty: all"),
)
MORE = (
    Field("min_score", "Least score to store", "empty: the model's own", is_number=True),
    Field("model", "Model", "empty: the MODEL setting"),
    Field("max_side", "Longer side on the queue (px)", "empty: 640", is_number=True),
    Field("policy", "When the queue is full", choices=tuple(one.value for one in Policy)),
    Field("max_age_s", "Drop frames that waited longer (s)", "empty: 10; or never", is_number=True),
    Field("motion_floor_s", "With motion: a frame at least every (s)", "empty: 10", is_number=True),
    Field("transport", "RTSP transport", choices=tuple(one.value for one in Transport)),
    Field("keyframes_only", "Pictures to decode", choices=("keyframes", "all")),
    Field("hwaccel", "Hardware decoding", "vaapi, cuda; empty: CPU"),
)
SWITCHES = (
    ("enabled", "Watch this camera"),
    ("motion", "Skip frames in which nothing moves"),
    ("loop", "Play a recording again and again, as a live camera"),
)
NEVER = "never"
_KEYFRAMES = {"keyframes": True, "all": False}
_NUMBERS = tuple(field.name for field in (*BASIC, *MORE) if field.is_number)
_NAMES = (
    *("name", "url", "evidence"),
    *(field.name for field in (*BASIC, *MORE)),
    *(name for name, _ in SWITCHES),
)


def form_values(camera: Camera | None) -> dict[str, str]:
    """The text of every field; a new camera's are empty, but that it is watched."""
    if camera is None:
        return dict.fromkeys(_NAMES, "") | {"enabled": "on"}
    values = {
        name: str(value if value is not None else "") for name in _NAMES for value in [getattr(camera, name)]
    }
    values |= {name: f"{value:g}" for name in _NUMBERS if (value := getattr(camera, name)) is not None}
    values["url"] = redact_url(camera.url)
    values["max_age_s"] = NEVER if camera.max_age_s is None else values["max_age_s"]
    values["keyframes_only"] = {True: "keyframes", False: "all", None: ""}[camera.keyframes_only]
    values["classes"] = ", ".join(camera.classes)
    values["evidence"] = "\n".join(str(rule) for rule in camera.evidence)
    for name, _ in SWITCHES:
        values[name] = "on" if getattr(camera, name) else ""
    return values


def sent_values(form: FormData) -> dict[str, str]:
    """The text of every field as it was sent, to show it again beside what is wrong with it."""
    return {name: str(form.get(name) or "").strip() for name in _NAMES}


def read_camera(form: FormData, stored: Camera | None = None) -> Camera:
    """The camera that the fields mean; what a form has no field for stays as stored.

    A recording that becomes a live camera, or the reverse, takes the policy of its new kind, unless the form
    has another than the stored one. Raises SettingsError and SourceError in one line.
    """
    sent = sent_values(form)
    if not sent["url"]:
        raise SettingsError("Address: expected a url, got none")
    values: dict[str, Any] = {} if stored is None else asdict(stored)
    if stored is not None and sent["url"] == redact_url(stored.url):
        sent["url"] = stored.url
    elif HIDDEN in sent["url"]:
        raise SettingsError(f"Address: expected the password by reference, ${{NAME}}, got {HIDDEN}")
    values |= {"name": sent["name"] if stored is None else stored.name, "url": sent["url"]}
    for field in (*BASIC, *MORE):
        values.pop(field.name, None)
        if text := sent[field.name]:
            values[field.name] = _value(field, text)
    values["classes"] = split_names([sent["classes"]])
    values["evidence"] = tuple(parse_rule(line) for line in sent["evidence"].splitlines() if line.strip())
    values |= {name: bool(sent[name]) for name, _ in SWITCHES}
    if stored is not None and waits(values) != waits(asdict(stored)):
        before = form_values(stored)
        for name in ("policy", "max_age_s"):  # as of its old kind, unless they were changed, too
            if sent[name] == before[name]:
                values.pop(name, None)
    return make_camera(values)


def with_polygons(camera: Camera, masks: Sequence[str], areas: Sequence[str]) -> Camera:
    """The camera with other masks and areas, each `x,y,x,y,...` from 0 to 1. Raises SettingsError."""
    return replace(camera, masks=_polygons(masks, "mask"), areas=_polygons(areas, "area"))


def polygon_texts(camera: Camera) -> list[tuple[str, str]]:
    """Its masks and areas: their kind, "mask" or "area", and their points as `with_polygons` reads them."""
    both = [("mask", polygon) for polygon in camera.masks] + [("area", polygon) for polygon in camera.areas]
    return [
        (kind, ",".join(f"{round(number, 4):g}" for point in polygon for number in point))
        for kind, polygon in both
    ]


def _polygons(texts: Sequence[str], kind: str) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(parse_polygon(text, kind) for text in texts if text.strip())


def _value(field: Field, text: str) -> float | str | bool | None:
    if field.name == "max_age_s" and text.lower() == NEVER:
        return None
    if field.name == "keyframes_only":
        return _KEYFRAMES.get(text)
    if not field.is_number:
        return text
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{field.label}: expected a number, got {text!r}") from None
