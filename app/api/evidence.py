"""Pictures that were kept as evidence: listed in pages, and served."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from app.api.camera_fields import NAME_PATTERN
from app.api.paging import answer_page, resume
from app.api.problems import ProblemError, describe_problems
from app.api.questions import (
    MOST_PAGE_ROWS,
    PAGE_ROWS,
    CameraQuery,
    ClassQuery,
    CursorQuery,
    MinScoreQuery,
    Order,
    SinceQuery,
    UntilQuery,
    read_span,
)
from app.api.services import services_of
from app.filters import parse_names
from storage.evidence_pages import PictureRow, find_picture_page
from storage.filters import DetectionFilter

router = APIRouter(prefix="/evidence", tags=["evidence"], responses=describe_problems(404, 422, 503))

_JPEG: dict[str, Any] = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
KEEP_FOR_S = 86_400
"""How long browsers may keep a picture; its name always means the same picture."""


@dataclass(frozen=True, slots=True)
class ListedPicture(PictureRow):
    """A picture, and where it is served."""

    url: str


@dataclass(frozen=True, slots=True)
class PicturesAnswer:
    """A page of pictures."""

    pictures: list[ListedPicture]
    next: str | None
    """`cursor` of the next page; null: there is none."""


def picture_url(path: str | None) -> str | None:
    """Where the picture of that path is served; None for none."""
    return None if path is None else f"/api/evidence/{path}"


@router.get("", response_class=Response, responses={200: {"model": PicturesAnswer, "description": "A page."}})
def pictures(
    request: Request,
    camera: CameraQuery = None,
    class_name: ClassQuery = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    min_score: MinScoreQuery = None,
    order: Order = Order.NEWEST,
    limit: Annotated[int, Query(ge=1, le=MOST_PAGE_ROWS)] = PAGE_ROWS,
    cursor: CursorQuery = None,
) -> Response:
    """The kept pictures with the detections that they show; in pages as `/api/detections`."""
    span = read_span(since, until)
    wanted = DetectionFilter(
        cameras=parse_names(camera, "camera"),
        classes=parse_names(class_name, "class"),
        since=span.since,
        until=span.until,
        min_score=min_score,
        newest_first=order is Order.NEWEST,
    )
    wanted, after = resume(wanted, cursor)
    page = find_picture_page(services_of(request).database, wanted, limit, after)
    rows = [{**asdict(row), "url": picture_url(row.path)} for row in page.rows]
    return answer_page({"pictures": rows}, wanted, page.last)


@router.get(
    "/{day}/{camera}/{file}",
    response_class=Response,
    responses={200: {"content": _JPEG, "description": "The picture."}},
)
def picture(
    request: Request,
    day: Annotated[str, Path(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")],
    camera: Annotated[str, Path(pattern=NAME_PATTERN)],
    file: Annotated[str, Path(pattern=r"^[a-z0-9-]{1,200}\.jpg$")],
) -> Response:
    """One picture. Rows of `/api/detections` and `/api/evidence` link here."""
    jpeg = services_of(request).evidence.read(f"{day}/{camera}/{file}")
    if jpeg is None:
        raise ProblemError(
            404,
            "expected a picture that is kept, found none: a better one may have taken its place, "
            "or its time is over",
        )
    headers = {"Cache-Control": f"private, max-age={KEEP_FOR_S}, immutable"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)
