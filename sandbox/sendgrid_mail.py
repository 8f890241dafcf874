"""`POST /v3/mail/send` as SendGrid answers it. Source: Twilio SendGrid's OpenAPI description of Mail Send v3."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from sandbox.config import SandboxConfig
from sandbox.connections import broken_answer
from sandbox.events import Mail, mail_events
from sandbox.faults import Fault, Kind, Switches
from sandbox.journal import Accepted, Journal
from sandbox.parcels import Due, parcels_of
from sandbox.recent import RecentMessages
from sandbox.refusals import Refusal
from sandbox.sendgrid_content import Content, content_of, personalized
from sandbox.sendgrid_recipients import RECIPIENT_KINDS
from sandbox.sendgrid_validation import MAX_BODY_BYTES, is_enabled, is_sandboxed, refusals_of

PATH = "/v3/mail/send"
REFERENCE_ARG = "ics_message"
RATE_LIMIT = 600
_NOT_VERIFIED = (
    "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved."
    " Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender Identity"
    " requirements"
)


class MailEndpoint:
    """The endpoint over a journal; what it accepted last can be looked up in `recent`."""

    def __init__(
        self, config: SandboxConfig, journal: Journal, switches: Switches, recent: RecentMessages
    ) -> None:
        self._config = config
        self._journal = journal
        self._switches = switches
        self._recent = recent
        self.router = APIRouter()
        self.router.add_api_route(PATH, self.send, methods=["POST"])

    async def send(self, request: Request) -> Response:
        """Validate, journal, 202; or what a fault switch says."""
        body = await _read(request)
        if body is None:
            return HTMLResponse("<html><head><title>413 Request Entity Too Large</title></head></html>", 413)
        if request.headers.get("authorization") != f"Bearer {self._config.sendgrid_api_key}":
            return sendgrid_errors(
                401, [Refusal("The provided authorization grant is invalid, expired, or revoked")]
            )
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return sendgrid_errors(415, [Refusal("Content-Type should be application/json.")])
        fault = self._switches.take("sendgrid")
        if fault is not None and fault.kind is Kind.LATENCY:
            await asyncio.sleep(fault.seconds)
            fault = None
        if fault is not None and not fault.kind.is_accepted_first and fault.kind is not Kind.PARTIAL_REFUSAL:
            return await _failed(request, fault, Response(status_code=202))
        answer = await self._take(body, fault)
        if fault is not None and fault.kind.is_accepted_first and answer.status_code == 202:
            return await _failed(request, fault, answer)
        return answer

    async def _take(self, body: bytes, fault: Fault | None) -> Response:
        try:
            mail = orjson.loads(body)
        except orjson.JSONDecodeError:
            return sendgrid_errors(400, [Refusal("Bad Request")])
        refusals = refusals_of(mail)
        if fault is not None and fault.kind is Kind.PARTIAL_REFUSAL and not refusals:
            refusals = list(_some(mail))
        if refusals:
            return sendgrid_errors(400, refusals)
        if not self._is_verified(mail):
            return sendgrid_errors(403, [Refusal(_NOT_VERIFIED, "from")])
        if is_sandboxed(mail):
            return Response(status_code=200)
        request_id = secrets.token_urlsafe(16)
        await run_in_threadpool(self._accept, mail, request_id)
        return Response(status_code=202, headers={"X-Message-Id": request_id})

    def _is_verified(self, mail: dict[str, Any]) -> bool:
        verified = self._config.verified_domains
        senders = [mail["from"], *(person["from"] for person in mail["personalizations"] if "from" in person)]
        return not verified or all(
            sender["email"].rpartition("@")[2].lower() in verified for sender in senders
        )

    def _accept(self, mail: dict[str, Any], request_id: str) -> None:
        """Journal every recipient together with the events to come. In the journal when this returns."""
        now = time.time()
        shared, make_mail = content_of(mail), _mail_of(mail)
        rows: list[Accepted] = []
        due: list[Due] = []
        contents: list[tuple[str, Callable[[], dict[str, str]]]] = []
        for person in mail["personalizations"]:
            content = personalized(shared, person)
            args = {**mail.get("custom_args", {}), **person.get("custom_args", {})}
            reference = args.get(REFERENCE_ARG, "")
            digest = content.digest
            for address in _addresses(person):
                accepted = Accepted(now, "sendgrid", request_id, reference, address, content.subject, digest)
                rows.append(accepted)
                due += mail_events(self._config, make_mail(accepted, args, html=content.html))
            contents.append((reference, partial(_shown, shared, person)))
        self._journal.accept(rows, parcels_of(due))
        self._recent.add(contents)


def sendgrid_errors(status: int, refusals: list[Refusal], headers: dict[str, str] | None = None) -> Response:
    """SendGrid's error document."""
    body = orjson.dumps({"errors": [refusal.as_json() for refusal in refusals]})
    return Response(body, status, headers, media_type="application/json")


async def _read(request: Request) -> bytes | None:
    """The body, None when it is larger than SendGrid takes."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size >= MAX_BODY_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


async def _failed(request: Request, fault: Fault, honest: Response) -> Response:
    if fault.kind is Kind.TOO_MANY:
        reset = int(time.time() + fault.seconds) + 1
        headers = {
            "X-RateLimit-Limit": str(RATE_LIMIT),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(reset),
        }
        return sendgrid_errors(429, [Refusal("too many requests")], headers)
    if fault.kind in (Kind.ERROR_BEFORE, Kind.ERROR_AFTER_ACCEPT):
        return sendgrid_errors(500, [Refusal("Internal Server Error")])
    return await broken_answer(request, fault, honest)


def _some(mail: dict[str, Any]) -> Iterator[Refusal]:
    """Refuse every tenth recipient, and the first in any case."""
    for index in range(0, len(mail["personalizations"]), 10):
        yield Refusal("Does not contain a valid address.", f"personalizations.{index}.to.0.email")


def _addresses(person: dict[str, Any]) -> list[str]:
    return [address["email"] for kind in RECIPIENT_KINDS for address in person.get(kind, ())]


def _mail_of(mail: dict[str, Any]) -> Callable[..., Mail]:
    """What events are about, as far as all recipients of a request share it."""
    return partial(
        Mail,
        categories=tuple(mail.get("categories", ())),
        asm_group_id=mail["asm"]["group_id"] if "asm" in mail else None,
        is_open_tracked=is_enabled(mail, "tracking_settings", "open_tracking", default=True),
        is_click_tracked=is_enabled(mail, "tracking_settings", "click_tracking", default=True),
    )


def _shown(shared: Content, person: dict[str, Any]) -> dict[str, str]:
    return {"to": person["to"][0]["email"], **asdict(personalized(shared, person))}
