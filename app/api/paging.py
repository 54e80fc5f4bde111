"""Pages as answers: where one begins, and the cursor of the next."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi.responses import Response

from app.api.cursors import read_cursor, write_cursor
from app.exports import json_value
from storage.filters import DetectionFilter
from storage.paging import Position


def resume(wanted: DetectionFilter, cursor: str | None) -> tuple[DetectionFilter, Position | None]:
    """The filter of the first page, and the position behind which this one begins.

    Raises ProblemError for a cursor that is none, or is of another question.
    """
    if cursor is None:
        return wanted, None
    found = read_cursor(cursor)
    return found.apply(wanted), found.after


def answer_page(content: Mapping[str, Any], wanted: DetectionFilter, last: Position | None) -> Response:
    """A page with the cursor of the next one as `next`."""
    return answer_json({**content, "next": None if last is None else write_cursor(wanted, last)})


def answer_json(content: Mapping[str, Any]) -> Response:
    """JSON with times as in files: ISO 8601 with microseconds and `Z`."""
    return Response(json.dumps(content, default=json_value), media_type="application/json")
