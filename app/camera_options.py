"""What can be said about a camera on the command line."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from app.evidence_rules import parse_rule
from app.filters import split_names
from core.errors import SettingsError
from core.types import Policy, Transport


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """What can be said about a camera; what is not given is None."""

    camera_model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Weights for this camera (default: the MODEL setting)."),
    ] = None
    fps: Annotated[
        float | None, typer.Option("--fps", help="Frames per second to analyse (default: every frame).")
    ] = None
    max_side: Annotated[
        int | None,
        typer.Option(
            "--max-side", metavar="PIXELS", help="Longer side of the queued picture (default: 640)."
        ),
    ] = None
    policy: Annotated[
        Policy | None,
        typer.Option(
            "--policy", help="When the queue is full (default: drop_oldest; files: wait, which loses none)."
        ),
    ] = None
    max_age: Annotated[
        float | None,
        typer.Option(
            "--max-age", metavar="SECONDS", help="Drop frames that waited longer (default: 10; files: never)."
        ),
    ] = None
    motion: Annotated[
        bool | None,
        typer.Option("--motion/--no-motion", help="Skip frames in which nothing moves.", show_default=False),
    ] = None
    motion_floor: Annotated[
        float | None,
        typer.Option(
            "--motion-floor",
            metavar="SECONDS",
            help="With --motion: let a frame pass at least that often (default: 10).",
        ),
    ] = None
    transport: Annotated[
        Transport | None, typer.Option("--transport", help="How RTSP pictures travel (default: tcp).")
    ] = None
    keyframes_only: Annotated[
        bool | None,
        typer.Option(
            "--keyframes-only/--all-frames",
            help="Decode keyframes alone (default: when they come at least as often as --fps asks for).",
            show_default=False,
        ),
    ] = None
    hwaccel: Annotated[
        str | None,
        typer.Option(
            "--hwaccel", metavar="NAME", help="Decode with vaapi, cuda, ..; the CPU where it cannot."
        ),
    ] = None
    loop: Annotated[
        bool | None,
        typer.Option("--loop/--no-loop", help="Play a recording for ever, as a camera.", show_default=False),
    ] = None
    mask: Annotated[
        list[str] | None,
        typer.Option(
            "--mask",
            metavar="X,Y,X,Y,...",
            help="Polygon to leave out, x and y from 0 to 1; repeat for more.",
        ),
    ] = None
    area: Annotated[
        list[str] | None,
        typer.Option(
            "--area",
            metavar="X,Y,X,Y,...",
            help="Polygon to look at alone, x and y from 0 to 1; repeat for more (default: everywhere).",
        ),
    ] = None
    class_name: Annotated[
        list[str] | None,
        typer.Option("--class", help="Store only these classes; repeat it, or part names by commas."),
    ] = None
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", help="Store detections from this score on (default: the model's own)."),
    ] = None
    evidence: Annotated[
        list[str] | None,
        typer.Option(
            "--evidence",
            metavar="RULE",
            help="Keep the best picture per class and interval, as in 'person,truck every=60s what=crop'; "
            "repeat for more rules.",
        ),
    ] = None
    enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", help="Whether it is watched.", show_default=False)
    ] = None

    def fields(self) -> dict[str, Any]:
        """The fields of `Camera` that were given. Raises SettingsError for a mask or rule that is none."""
        given: dict[str, Any] = {
            "model": self.camera_model,
            "fps": self.fps,
            "max_side": self.max_side,
            "policy": self.policy,
            "max_age_s": self.max_age,
            "motion": self.motion,
            "motion_floor_s": self.motion_floor,
            "transport": self.transport,
            "keyframes_only": self.keyframes_only,
            "hwaccel": self.hwaccel,
            "loop": self.loop,
            "masks": tuple(parse_polygon(mask) for mask in self.mask) if self.mask else None,
            "areas": tuple(parse_polygon(area, "--area") for area in self.area) if self.area else None,
            "min_score": self.min_score,
            "classes": split_names(self.class_name) or None,
            "evidence": tuple(parse_rule(rule) for rule in self.evidence) if self.evidence else None,
            "enabled": self.enabled,
        }
        return {name: value for name, value in given.items() if value is not None}


def parse_polygon(text: str, option: str = "--mask") -> tuple[tuple[float, float], ...]:
    """Points x,y,x,y,... in [0, 1], at least three. Raises SettingsError."""
    expected = (
        f"{option}: expected x,y,x,y,x,y,... with values from 0 to 1 and at least three points; got {text!r}"
    )
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(expected) from None
    if len(numbers) < 6 or len(numbers) % 2 or not all(0 <= number <= 1 for number in numbers):
        raise SettingsError(expected)
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))
