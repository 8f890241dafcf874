"""`POST /v3/mail/send` as SendGrid answers it."""

import asyncio
import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from sandbox.config import SandboxConfig
from sandbox.connections import broken_answer
from sandbox.events import Mail, mail_events
from sandbox.faults import Fault, Kind, Switches
from sandbox.journal import Accepted, Due, Journal
from sandbox.sendgrid_validation import MAX_BODY_BYTES, Refusal, is_sandboxed, refusals_of

REFERENCE_ARG = "ics_message"
_URL = re.compile(r'href=["\'](https?://[^"\'\s]+)', re.IGNORECASE)
_KEPT_REQUESTS = 50


class MailEndpoint:
    """The endpoint and what it keeps: the journal, and the last requests to look messages up in."""

    def __init__(self, config: SandboxConfig, journal: Journal, switches: Switches) -> None:
        self._config = config
        self._journal = journal
        self._switches = switches
        self._recent: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self.router = APIRouter()
        self.router.add_api_route("/v3/mail/send", self.send, methods=["POST"])

    async def send(self, request: Request) -> Response:
        """Validate, journal, 202; or what a fault switch says."""
        body = await _read(request)
        if body is None:
            return HTMLResponse("<html><head><title>413 Request Entity Too Large</title></head></html>", 413)
        fault = self._switches.take("sendgrid")
        if fault is not None and fault.kind is Kind.LATENCY:
            await asyncio.sleep(fault.seconds)
            fault = None
        if request.headers.get("authorization") != f"Bearer {self._config.sendgrid_api_key}":
            return _errors(401, [Refusal("The provided authorization grant is invalid, expired, or revoked")])
        if "application/json" not in request.headers.get("content-type", ""):
            return _errors(415, [Refusal("Content-Type should be application/json.")])
        if fault is not None and not fault.kind.is_accepted_first and fault.kind is not Kind.PARTIAL_REFUSAL:
            return await _failed(request, fault)
        return await self._take(request, body, fault)

    def find(self, reference: str) -> dict[str, str] | None:
        """What a recipient of one of the last requests was sent: subject and content, substituted."""
        for mail in reversed(list(self._recent.values())):
            for person in mail["personalizations"]:
                if (person.get("custom_args") or {}).get(REFERENCE_ARG) == reference:
                    return {"to": person["to"][0]["email"], **_substituted(mail, person)}
        return None

    async def _take(self, request: Request, body: bytes, fault: Fault | None) -> Response:
        try:
            mail = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _errors(400, [Refusal("Bad Request")])
        refusals = refusals_of(mail)
        if fault is not None and fault.kind is Kind.PARTIAL_REFUSAL and not refusals:
            refusals = list(_some(mail))
        if refusals:
            return _errors(400, refusals)
        if is_sandboxed(mail):
            return Response(status_code=200)
        request_id = secrets.token_urlsafe(16)
        await run_in_threadpool(self._write, mail, request_id)
        if fault is not None and fault.kind.is_accepted_first:
            return await _failed(request, fault)
        return Response(status_code=202, headers={"X-Message-Id": request_id})

    def _write(self, mail: dict[str, Any], request_id: str) -> None:
        now = time.time()
        rows: list[Accepted] = []
        due: list[Due] = []
        for person in mail["personalizations"]:
            content = _substituted(mail, person)
            args = {**(mail.get("custom_args") or {}), **(person.get("custom_args") or {})}
            digest = hashlib.sha256(f"{content['text']}\x00{content['html']}".encode()).hexdigest()
            for to in person["to"]:
                accepted = Accepted(
                    accepted_at=now,
                    provider="sendgrid",
                    request_id=request_id,
                    reference=args.get(REFERENCE_ARG, ""),
                    address=to["email"],
                    subject=content["subject"],
                    digest=digest,
                )
                rows.append(accepted)
                urls = tuple(url for url in _URL.findall(content["html"]) if "/unsubscribe/" not in url)
                due += mail_events(self._config, Mail(accepted, args, mail.get("categories") or [], urls))
        self._journal.accept(rows, due)
        self._recent[request_id] = mail
        while len(self._recent) > _KEPT_REQUESTS:
            self._recent.popitem(last=False)


async def _read(request: Request) -> bytes | None:
    """The body, None when it is larger than SendGrid takes."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size >= MAX_BODY_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


async def _failed(request: Request, fault: Fault) -> Response:
    if fault.kind is Kind.TOO_MANY:
        reset = int(time.time() + fault.seconds) + 1
        headers = {"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
        return _errors(429, [Refusal("too many requests")], headers)
    if fault.kind in (Kind.ERROR_BEFORE, Kind.ERROR_AFTER_ACCEPT):
        return _errors(500, [Refusal("Internal Server Error")])
    return await broken_answer(request, fault)


def _some(mail: dict[str, Any]) -> Iterator[Refusal]:
    """Refuse every tenth recipient, and the first in any case."""
    for index in range(0, len(mail["personalizations"]), 10):
        yield Refusal("Does not contain a valid address.", f"personalizations.{index}.to.0.email")


def _substituted(mail: dict[str, Any], person: dict[str, Any]) -> dict[str, str]:
    content = {block["type"]: block["value"] for block in mail.get("content") or []}
    texts = {
        "subject": person.get("subject") or mail.get("subject") or "",
        "text": content.get("text/plain", ""),
        "html": content.get("text/html", ""),
    }
    for tag, value in (person.get("substitutions") or {}).items():
        texts = {name: text.replace(tag, value) for name, text in texts.items()}
    return texts


def _errors(status: int, refusals: list[Refusal], headers: dict[str, str] | None = None) -> Response:
    body = orjson.dumps({"errors": [refusal.as_json() for refusal in refusals]})
    return Response(body, status, headers, media_type="application/json")
