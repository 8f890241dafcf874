"""Answers that say what they are known by: who has it already gets nothing again (RFC 9110, 8.8.3 and 13.1.2)."""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel

from api.errors import Changed
from db.base import Base
from db.engine import Session
from db.queries.locking import lock_row

T = TypeVar("T", bound=BaseModel)


class Match:
    """For a resource that people change: its ETag in the answer, and `If-Match` before a change.

    With `If-Match` a change is refused when somebody else has changed the resource since it was read; without, the last one wins.
    """

    def __init__(
        self,
        response: Response,
        if_match: Annotated[
            str | None,
            Header(
                alias="If-Match",
                max_length=200,
                description="The ETag of what is to be changed: 412 when it is another one by now.",
            ),
        ] = None,
    ) -> None:
        self._response = response
        self._given = if_match

    def tag(self, answer: T) -> T:
        """The answer; its ETag goes into the headers."""
        self._response.headers["ETag"] = etag_of(answer)
        return answer

    def require(
        self, session: Session, model: type[Base], *which: Any, as_it_is: Callable[[], BaseModel]
    ) -> None:
        """Lock the row and compare. Raises Changed: it is not what the caller read."""
        if self._given is None:
            return
        lock_row(session, model, *which)
        given = [each.strip() for each in self._given.split(",")]
        if "*" not in given and etag_of(as_it_is()) not in given:
            raise Changed


MatchDep = Annotated[Match, Depends()]


def etag_of(answer: BaseModel) -> str:
    """Of all fields but those in `untagged`, which change by themselves."""
    body = answer.model_dump_json(exclude=set(getattr(answer, "untagged", ()))).encode()
    return f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"'


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
