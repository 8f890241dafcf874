"""Answers that say what they are known by: who has it already gets nothing again (RFC 9110, 8.8.3 and 13.1.2)."""

import hashlib

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel


def with_etag(request: Request, answer: BaseModel) -> Response:
    """The model as JSON with its ETag, or 304 without a body when `If-None-Match` names it."""
    body = answer.model_dump_json().encode()
    etag = f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def is_known(request: Request, etag: str) -> bool:
    """Whether the caller has it: weak comparison, since a proxy may have weakened what it compressed."""
    given = request.headers.get("If-None-Match", "")
    return any(each.strip().removeprefix("W/") in (etag, "*") for each in given.split(","))
