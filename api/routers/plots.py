"""An execution over time as a picture."""

import hashlib
from threading import BoundedSemaphore
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.dependencies import DatabaseDep, ItemId
from api.errors import Busy, responses
from api.etags import is_known
from db.queries.executions import get_summary
from db.queries.stats import list_minutes
from tasks.plots.curves import curves_of
from tasks.plots.drawing import Format, draw

MOST_AT_ONCE = 4
# One is drawn at a time, in half a second; who waits for it holds one of the threads that answer all requests.
_places = BoundedSemaphore(MOST_AT_ONCE)
router = APIRouter(prefix="/api/flow-executions", tags=["statistics"])
_TYPES = {Format.SVG: "image/svg+xml", Format.PNG: "image/png"}
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {"content": {each: {} for each in _TYPES.values()}},
    304: {"description": "Not Modified"},
}


@router.get("/{execution_id}/plot", response_class=Response, responses={**_PICTURES, **responses(404, 429)})
def plot(
    request: Request,
    database: DatabaseDep,
    execution_id: ItemId,
    format: Annotated[Format, Query()] = Format.SVG,
) -> Response:
    """Sends, deliveries, opens and clicks over time, in all and per step; 304 as long as nothing came in."""
    with database.reading() as session:
        execution, flow, _, _ = get_summary(session, execution_id)
        curves = curves_of(list_minutes(session, execution_id))
    title = f"{flow.name} · execution {execution.id}"
    etag = f'"{hashlib.blake2b(repr((title, curves, format)).encode(), digest_size=8).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    if not _places.acquire(blocking=False):
        raise Busy("too many plots are being drawn: come back in a few seconds")
    try:
        picture = draw(curves, title, format)
    finally:
        _places.release()
    # Shown on its own, an SVG is a document: nothing in it may run or load anything.
    headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return Response(picture, media_type=_TYPES[format], headers=headers)
