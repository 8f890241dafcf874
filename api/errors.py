"""Errors as problem documents (RFC 9457). This file alone knows which error is which status."""

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, field_validator
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.request_ids import HEADER, current_id
from db.engine import DatabaseOutage
from db.errors import Conflict, DatabaseUnavailable, IcsError, Invalid, NotFound, TookTooLong
from tasks.access.logins import LoginRefused
from tasks.sending.configuration import ProviderNotConfigured

log = structlog.get_logger()
MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One field and what is wrong with it, e.g. `body.sender.from_email`. `line` is that of a template's source."""

    field: str
    message: str
    line: int | None = None

    @field_validator("field", "message")
    @classmethod
    def _is_short(cls, text: str) -> str:
        # Names of unknown fields come from the request, however long they are.
        return text[:500]


class Problem(BaseModel):
    """RFC 9457. `errors` names fields where there are any."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldError] | None = None


class Unauthenticated(IcsError):
    """No token, or one that is not known or was revoked."""

    def __init__(self) -> None:
        super().__init__("send a valid token: Authorization: Bearer ics_...")


class Forbidden(IcsError):
    """The caller is known, but may not do this."""

    def __init__(self, ability: str) -> None:
        super().__init__(f"this takes the ability {ability}, which the token or its role does not have")


class Changed(IcsError):
    """`If-Match` names another version than the one that is stored."""

    def __init__(self) -> None:
        super().__init__("somebody has changed this since you read it: read it again, and repeat your change")


class ProviderRefused(IcsError):
    """A provider did not take what a person asked for directly, such as a test send."""


class TemplateRefused(IcsError):
    """A template that cannot be saved or rendered; `problems` name part, line and reason."""

    def __init__(self, problems: list[FieldError]) -> None:
        super().__init__("the template is broken; see errors")
        self.problems = problems


class FlowIncomplete(IcsError):
    """A flow that cannot be sent as it is; `problems` name what is missing or does not fit."""

    def __init__(self, detail: str, problems: list[FieldError]) -> None:
        super().__init__(detail)
        self.problems = problems


class Refusal(StrEnum):
    """Why a webhook is not stored; a label of the metrics."""

    NOT_CONFIGURED = "not_configured"
    UNSIGNED = "unsigned"
    WRONG_SIGNATURE = "wrong_signature"
    TOO_OLD = "too_old"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    NOT_STORED = "not_stored"


class WebhookRefused(IcsError):
    """A webhook that is not proven to come from the provider, or that could not be stored."""

    def __init__(self, status: int, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.refusal = refusal


class Busy(IcsError):
    """There is no room for this request now; another time there may be."""


class TooMany(IcsError):
    """A budget of requests is used up; `headers` tell until when."""

    def __init__(self, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.headers = headers


class TooLarge(IcsError):
    """The request's body is larger than the route takes."""


_STATUS: Mapping[type[IcsError], int] = {
    NotFound: 404,
    Conflict: 409,
    Invalid: 422,
    Unauthenticated: 401,
    Changed: 412,
    Forbidden: 403,
    LoginRefused: 401,
    TooLarge: 413,
    Busy: 429,
    TooMany: 429,
    ProviderNotConfigured: 409,
    ProviderRefused: 502,
    TemplateRefused: 422,
    FlowIncomplete: 422,
    DatabaseUnavailable: 503,
    TookTooLong: 503,
}


def problem(
    status: int,
    detail: str | None = None,
    *,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document as a response."""
    document = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    return JSONResponse(
        document.model_dump(exclude_none=True), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def bad_parameter(name: str, message: str) -> RequestValidationError:
    """The error for a value of the query string that only the route can judge."""
    return RequestValidationError([{"type": "value_error", "loc": ("query", name), "msg": message}])


def problem_content() -> dict[str, Any]:
    """How the OpenAPI description says that an answer is a problem."""
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of the problems a route may answer."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": problem_content(), "model": Problem}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(IcsError, _known)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DatabaseOutage, _outage)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def _known(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, WebhookRefused):
        request.app.state.measurements.count_refusal(request.url.path, error.refusal)
        return problem(error.status, str(error))
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    if status == 500:
        return _unexpected(request, error)
    if isinstance(error, TemplateRefused | FlowIncomplete):
        return problem(status, str(error), errors=error.problems)
    field = getattr(error, "field", None)
    message = error.message if isinstance(error, Invalid) else str(error)
    errors = [FieldError(field=f"body.{field}", message=message)] if field else None
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else getattr(error, "headers", None)
    return problem(status, str(error), errors=errors, headers=headers)


def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError(field=".".join(str(part) for part in found["loc"]), message=_words(found))
        for found in error.errors()
    ]
    return problem(422, "the request does not fit; see errors", errors=errors[:100])


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else None
    return problem(error.status_code, detail, headers=error.headers)


def _gone(request: Request, error: Exception) -> JSONResponse:
    """The client went away before its body was there. Nobody reads the answer; it is counted."""
    return problem(400, "the body is not complete")


def _outage(request: Request, error: Exception) -> JSONResponse:
    log.error("database away", route=_route(request), error=type(error).__name__)
    return problem(503, "the database does not answer; try again", headers={"Retry-After": "5"})


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", route=_route(request), error=type(error).__name__, exc_info=error)
    # Answered outside of all middleware, which would have put it there.
    name = current_id()
    headers = {HEADER: name} if name else None
    return problem(500, "something went wrong here; it was logged", headers=headers)


def _route(request: Request) -> str:
    """The template of the route: paths have secrets and tokens in them."""
    return str(getattr(request.scope.get("route"), "path_format", "none"))


def _words(found: Mapping[str, Any]) -> str:
    if found["type"] == "extra_forbidden":
        return "is not a field of this request"
    message = str(found["msg"]).removeprefix("Value error, ")
    # Of a secret only the length is known, and pydantic speaks of its items.
    return (
        message.replace(" items after validation", " characters") if message.startswith("Value") else message
    )
