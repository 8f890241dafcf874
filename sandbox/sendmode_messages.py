"""Sendmode's endpoints, one per profile: `/v1/messages`, `/v2/send`, `/3.0/send`."""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from sandbox.config import SandboxConfig
from sandbox.connections import broken_answer
from sandbox.events import sms_events
from sandbox.faults import Fault, Kind, Switches
from sandbox.journal import Accepted, Journal

_NUMBER = re.compile(r"\+?[1-9][0-9]{6,14}")
_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("^{}\\[~]|€")


@dataclass(frozen=True)
class Dialect:
    """How a profile names things and how it says yes and no (status, body)."""

    to: Callable[[dict[str, Any]], Any]
    text: str
    sender: str
    reference: str
    accepted: Callable[[str], dict[str, Any]]
    refused: Callable[[str], tuple[int, dict[str, Any]]]


def _first(body: dict[str, Any]) -> Any:
    recipients = body.get("recipients")
    return recipients[0] if isinstance(recipients, list) and len(recipients) == 1 else None


_DIALECTS = {
    "/v1/messages": Dialect(
        to=lambda body: body.get("to"),
        text="text",
        sender="sender",
        reference="reference",
        accepted=lambda key: {"id": key, "status": "queued"},
        refused=lambda why: (422, {"error": why}),
    ),
    "/v2/send": Dialect(
        to=_first,
        text="messagetext",
        sender="senderid",
        reference="customerid",
        accepted=lambda key: {"status": "OK", "statusCode": 0},
        refused=lambda why: (200, {"status": "ERROR", "statusCode": 3, "message": why}),
    ),
    "/3.0/send": Dialect(
        to=lambda body: body.get("mobile_number"),
        text="message",
        sender="sender_id",
        reference="customer_id",
        accepted=lambda key: {"is_successful": True},
        refused=lambda why: (200, {"is_successful": False, "error_message": why}),
    ),
}


class SmsEndpoint:
    """All profiles over one journal."""

    def __init__(self, config: SandboxConfig, journal: Journal, switches: Switches) -> None:
        self._config = config
        self._journal = journal
        self._switches = switches
        self.router = APIRouter()
        for path in _DIALECTS:
            self.router.add_api_route(path, self.send, methods=["POST"], operation_id=f"send_{path}")

    async def send(self, request: Request) -> Response:
        """Validate, journal, answer as the profile does; or what a fault switch says."""
        dialect = _DIALECTS[request.url.path]
        fault = self._switches.take("sendmode")
        if fault is not None and fault.kind is Kind.LATENCY:
            await asyncio.sleep(fault.seconds)
            fault = None
        if request.headers.get("authorization") != self._config.sendmode_api_key:
            return _json(401, {"error": "the key is not valid"})
        if fault is not None and not fault.kind.is_accepted_first:
            return await _failed(request, dialect, fault)
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return _json(400, {"error": "the body is not JSON"})
        problem = _problem(dialect, body)
        if problem:
            status, answer = dialect.refused(problem)
            return _json(status, answer)
        key = secrets.token_hex(8)
        await run_in_threadpool(self._write, dialect, body, key)
        if fault is not None:
            return await _failed(request, dialect, fault)
        return _json(200, dialect.accepted(key))

    def _write(self, dialect: Dialect, body: dict[str, Any], key: str) -> None:
        text = body[dialect.text]
        accepted = Accepted(
            accepted_at=time.time(),
            provider="sendmode",
            request_id=key,
            reference=body.get(dialect.reference) or "",
            address="+" + str(dialect.to(body)).removeprefix("+"),
            subject="",
            digest=hashlib.sha256(text.encode()).hexdigest(),
            parts=count_parts(text),
        )
        self._journal.accept([accepted], sms_events(self._config, accepted))


def count_parts(text: str) -> int:
    """Parts as an operator bills them (GSM 03.38; extension characters take two septets)."""
    if all(character in _GSM7 or character in _EXTENDED for character in text):
        widths = [2 if character in _EXTENDED else 1 for character in text]
        return _parts(widths, 160, 153)
    return _parts([len(character.encode("utf-16-be", "surrogatepass")) // 2 for character in text], 70, 67)


def _parts(widths: list[int], single: int, several: int) -> int:
    if sum(widths) <= single:
        return 1
    parts = used = 0
    for width in widths:
        if parts == 0 or used + width > several:
            parts, used = parts + 1, 0
        used += width
    return parts


def _problem(dialect: Dialect, body: Any) -> str | None:
    if not isinstance(body, dict):
        return "the body has to be an object"
    to = dialect.to(body)
    if not isinstance(to, str) or not _NUMBER.fullmatch(to):
        return "the number is not valid"
    text = body.get(dialect.text)
    if not isinstance(text, str) or not text:
        return "the text is empty"
    if len(text) > 1530:
        return "the text is too long"
    sender = body.get(dialect.sender)
    if sender is not None and (not isinstance(sender, str) or not 1 <= len(sender) <= 15):
        return "the sender is not valid"
    return None


async def _failed(request: Request, dialect: Dialect, fault: Fault) -> Response:
    if fault.kind is Kind.TOO_MANY:
        return _json(429, {"error": "too many requests"}, {"Retry-After": str(max(int(fault.seconds), 1))})
    if fault.kind is Kind.PARTIAL_REFUSAL:
        status, answer = dialect.refused("the number is not valid")
        return _json(status, answer)
    if fault.kind in (Kind.ERROR_BEFORE, Kind.ERROR_AFTER_ACCEPT):
        return _json(500, {"error": "internal error"})
    return await broken_answer(request, fault)


def _json(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
