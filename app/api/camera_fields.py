"""What a request may say about a camera: fields of `core.types.Camera`, their limits told to clients."""

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from core.evidence_policy import LONGEST_INTERVAL_S, EvidenceKind
from core.types import Policy, Transport

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
CHECKED_FOR_S = 2.0


def _whole(value: Any) -> Any:
    """Of 640.0, 640: JSON knows one kind of number (JSON Schema, section 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Number: TypeAlias = Annotated[float, Field(strict=True)]
_Bool: TypeAlias = Annotated[bool, Field(strict=True)]
_Int: TypeAlias = Annotated[int, BeforeValidator(_whole), Field(strict=True)]
_Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Share: TypeAlias = Annotated[float, Field(strict=True, ge=0, le=1)]
_Point: TypeAlias = tuple[_Share, _Share]
_Polygons: TypeAlias = Annotated[
    list[Annotated[list[_Point], Field(min_length=3, max_length=200)]],
    Field(max_length=50, description="Polygons of points [x, y], each from 0 to 1 across the picture."),
]
_Url: TypeAlias = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="rtsp://, http://, usb://0, or a file on ingest's machine; secrets as ${NAME}.",
        examples=["rtsp://viewer:${GATE_PASSWORD}@127.0.0.1/stream1"],
    ),
]


class RuleFields(BaseModel):
    """Keep one picture per interval and class: that of the detection with the best score."""

    model_config = ConfigDict(extra="forbid")

    classes: list[_Text] = Field([], max_length=1000, description="Classes that it is about; none: all.")
    every_s: _Number = Field(60.0, ge=1, le=LONGEST_INTERVAL_S, description="Length of an interval.")
    what: EvidenceKind = Field(EvidenceKind.CROP, description="The detection alone, or the whole picture.")
    margin: _Number = Field(0.1, ge=0, le=10, description="Of a crop, in parts of the box's sides.")
    min_score: _Number = Field(0.0, ge=0, le=1, description="Least score worth a picture.")


class CameraChanges(BaseModel):
    """Fields of a camera; those that are not given stay as they are."""

    model_config = ConfigDict(extra="forbid")

    url: _Url = ""
    model: _Text | None = Field(None, description="Weights name; null: the MODEL setting.")
    fps: _Number | None = Field(
        None, gt=0, le=1000, description="Frames per second to analyse; null: every frame."
    )
    max_side: _Int = Field(640, ge=32, le=8192, description="Longer side of the queued picture in pixels.")
    policy: Policy = Field(Policy.DROP_OLDEST, description="What happens when the queue is full.")
    max_age_s: _Number | None = Field(
        10.0, gt=0, le=1e9, description="Age at which a waiting frame is dropped; null: never."
    )
    motion: _Bool = Field(False, description="Skip frames in which nothing moves.")
    motion_floor_s: _Number = Field(
        10.0, gt=0, le=1e9, description="With motion: a frame passes at least that often."
    )
    transport: Transport = Field(Transport.TCP, description="How RTSP pictures travel.")
    keyframes_only: _Bool | None = Field(
        None, description="Decode keyframes alone; null: when they come often enough for fps."
    )
    hwaccel: _Text | None = Field(None, description="Decode on the graphics card: vaapi, cuda, ...")
    loop: _Bool = Field(False, description="Play a recording again and again, as a live camera.")
    masks: _Polygons = Field([], description="Polygons that detection leaves out.")
    areas: _Polygons = Field([], description="Polygons outside of which detection sees nothing.")
    classes: list[_Text] = Field([], max_length=1000, description="Classes to store; none: all.")
    min_score: _Number | None = Field(None, ge=0, le=1, description="Least score of a stored detection.")
    evidence: list[RuleFields] = Field([], max_length=100, description="Pictures to keep.")
    enabled: _Bool = Field(True, description="Whether it is watched.")


class NewCamera(CameraChanges):
    """A camera to add."""

    name: str = Field(pattern=NAME_PATTERN, description="Its name, for good.", examples=["gate"])
    url: _Url


class Trial(BaseModel):
    """An address to try."""

    model_config = ConfigDict(extra="forbid")

    url: _Url
    seconds: _Number = Field(CHECKED_FOR_S, ge=0.1, le=10, description="How long a live source is watched.")
