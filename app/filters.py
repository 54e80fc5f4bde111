"""Which detections a person asks for: options of a command become a `DetectionFilter`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from app.times import parse_moment
from core.errors import QueryError

if TYPE_CHECKING:
    from storage.queries import DetectionFilter

Region = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """The filter options as they were typed."""

    camera: Annotated[
        list[str] | None,
        typer.Option("--camera", "-c", help="Only these cameras; repeat it, or part names by commas."),
    ] = None
    class_name: Annotated[
        list[str] | None,
        typer.Option("--class", help="Only these classes; repeat it, or part names by commas."),
    ] = None
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="First time wanted: 2h, 7d, today, or ISO 8601 (UTC without a zone).",
        ),
    ] = None
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="First time no longer wanted, written as for --since."),
    ] = None
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", min=0.0, max=1.0, metavar="SCORE", help="Least score, 0 to 1."),
    ] = None
    region: Annotated[
        str | None,
        typer.Option(
            "--region", metavar="X1,Y1,X2,Y2", help="Boxes that overlap this one, in pixels of the picture."
        ),
    ] = None
    min_area: Annotated[
        float | None, typer.Option("--min-area", min=0.0, metavar="PIXELS", help="Least width times height.")
    ] = None

    def to_filter(self, limit: int | None = None) -> "DetectionFilter":
        """The filter that they mean. Raises QueryError, naming the option that is wrong."""
        from storage.queries import DetectionFilter

        return DetectionFilter(
            cameras=parse_names(self.camera, "--camera"),
            classes=parse_names(self.class_name, "--class"),
            since=parse_moment(self.since, "--since") if self.since is not None else None,
            until=parse_moment(self.until, "--until") if self.until is not None else None,
            min_score=self.min_score,
            region=parse_region(self.region) if self.region is not None else None,
            min_area=self.min_area,
            limit=limit,
        )


def split_names(given: Sequence[str] | None) -> tuple[str, ...]:
    """Names from an option that may be repeated and may hold several, parted by commas."""
    names = (name.strip() for text in given or () for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def parse_names(given: Sequence[str] | None, option: str) -> tuple[str, ...]:
    """Names to choose by; none when nothing was given. Raises QueryError for blanks and commas alone."""
    names = split_names(given)
    if given and not names:
        raise QueryError(f"{option}: expected a name, or the option left out for all; got {given[0]!r}")
    return names


def parse_region(text: str, option: str = "--region") -> Region:
    """x1, y1, x2, y2 in source pixels. Raises QueryError unless x1 < x2 and y1 < y2."""
    expected = f"{option}: expected x1,y1,x2,y2 in pixels with x1 < x2 and y1 < y2, such as 0,200,640,480"
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError:
        raise QueryError(f"{expected}; got {text!r}") from None
    if not (x1 < x2 and y1 < y2):
        raise QueryError(f"{expected}; got {text!r}")
    return x1, y1, x2, y2
