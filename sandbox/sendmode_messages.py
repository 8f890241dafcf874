"""Sendmode's endpoints, one per profile: `/v1/messages`, `/v2/send`, `/3.0/send`.

`/v2/send` and `/3.0/send` follow Sendmode's published REST 2 and REST 3 documents; of `/v1/messages` no public
reference is known, and what is not known of it is kept to the least: JSON in, 2xx with `id` and `status` out.
"""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from sandbox.config import SandboxConfig
from sandbox.connections import broken_answer
from sandbox.faults import Fault, Kind, Switches
from sandbox.journal import Accepted, Journal
from sandbox.parcels import parcels_of
from sandbox.recent import RecentMessages
from sandbox.reports import is_number, sms_events
from sandbox.sms_parts import count_parts

MAX_TEXT_CHARACTERS = 1530
MAX_REFERENCE_CHARACTERS = 100
MAX_ALPHANUMERIC_SENDER = 11
MAX_SENDER = 15
_NUMBER = re.compile(r"\+?[1-9][0-9]{6,14}")


@dataclass(frozen=True)
class Dialect:
    """How a profile names things, and how it says yes (body) and no (status, body)."""

    to: Callable[[dict[str, Any]], Any]
    text: str
    sender: str
    reference: str
    accepted: Callable[[str], dict[str, Any]]
    refused: Callable[[str], tuple[int, dict[str, Any]]]


@dataclass(frozen=True)
class Sms:
    """A valid request. Numbers in E.164."""

    to: tuple[str, ...]
    text: str
    sender: str
    reference: str


DIALECTS = {
    "/v1/messages": Dialect(
        to=lambda body: [body.get("to")],
        text="text",
        sender="sender",
        reference="reference",
        accepted=lambda key: {"id": key, "status": "queued"},
        refused=lambda why: (422, {"error": why}),
    ),
    "/v2/send": Dialect(
        to=lambda body: body.get("recipients"),
        text="messagetext",
        sender="senderid",
        reference="customerid",
        accepted=lambda _: {"status": "OK", "statusCode": 0},
        refused=lambda why: (200, {"status": "ERROR", "statusCode": 3, "message": why}),
    ),
    "/3.0/send": Dialect(
        to=lambda body: [body.get("mobile_number")],
        text="message",
        sender="sender_id",
        reference="customer_id",
        accepted=lambda _: {"is_successful": True},
        refused=lambda why: (200, {"is_successful": False, "error_message": why}),
    ),
}


class SmsEndpoint:
    """All profiles over one journal."""

    def __init__(
        self, config: SandboxConfig, journal: Journal, switches: Switches, recent: RecentMessages
    ) -> None:
        self._config = config
        self._journal = journal
        self._switches = switches
        self._recent = recent
        self.router = APIRouter()
        for path in DIALECTS:
            self.router.add_api_route(path, self.send, methods=["POST"], operation_id=f"send_{path}")

    async def send(self, request: Request) -> Response:
        """Validate, journal, answer as the profile does; or what a fault switch says."""
        dialect = DIALECTS[request.url.path]
        body = await request.body()
        if request.headers.get("authorization") != self._config.sendmode_api_key:
            return _json(401, {"error": "the key is not valid"})
        fault = self._switches.take("sendmode")
        if fault is not None and fault.kind is Kind.LATENCY:
            await asyncio.sleep(fault.seconds)
            fault = None
        if fault is not None and not fault.kind.is_accepted_first:
            return await _failed(request, dialect, fault, _json(200, dialect.accepted("")))
        try:
            sms = read_sms(dialect, orjson.loads(body))
        except orjson.JSONDecodeError:
            return _json(400, {"error": "the body is not JSON"})
        if isinstance(sms, str):
            status, answer = dialect.refused(sms)
            return _json(status, answer)
        key = secrets.token_hex(8)
        await run_in_threadpool(self._accept, sms, key)
        honest = _json(200, dialect.accepted(key))
        return honest if fault is None else await _failed(request, dialect, fault, honest)

    def _accept(self, sms: Sms, key: str) -> None:
        """Journal every recipient together with the reports to come. In the journal when this returns."""
        digest, parts, now = hashlib.sha256(sms.text.encode()).hexdigest(), count_parts(sms.text), time.time()
        rows = [Accepted(now, "sendmode", key, sms.reference, number, "", digest, parts) for number in sms.to]
        due = [item for row in rows for item in sms_events(self._config, row, sms.sender)]
        self._journal.accept(rows, parcels_of(due))
        shown = {"to": sms.to[0], "text": sms.text, "sender": sms.sender}
        self._recent.add([(sms.reference, partial(dict, shown))])


def read_sms(dialect: Dialect, body: Any) -> Sms | str:
    """The message of a request body, or why it is refused."""
    if not isinstance(body, dict):
        return "the body has to be an object"
    to, text = dialect.to(body), body.get(dialect.text)
    sender, reference = body.get(dialect.sender, ""), body.get(dialect.reference, "")
    if not isinstance(to, list) or not to or not all(map(_is_phone, to)):
        return "the number is not valid"
    if not isinstance(text, str) or not text.strip():
        return "the text is empty"
    if len(text) > MAX_TEXT_CHARACTERS:
        return f"the text is longer than {MAX_TEXT_CHARACTERS} characters"
    if not isinstance(sender, str) or not _is_sender(sender):
        return "the sender is not valid"
    if not isinstance(reference, str) or len(reference) > MAX_REFERENCE_CHARACTERS:
        return f"the reference has to be a string of at most {MAX_REFERENCE_CHARACTERS} characters"
    return Sms(tuple("+" + number.removeprefix("+") for number in to), text, sender, reference)


def _is_phone(number: Any) -> bool:
    return isinstance(number, str) and _NUMBER.fullmatch(number) is not None


def _is_sender(sender: str) -> bool:
    """ "" stands for the account's own; else a number, or a name that phones can show."""
    return len(sender) <= (MAX_SENDER if is_number(sender) else MAX_ALPHANUMERIC_SENDER) and sender.isascii()


async def _failed(request: Request, dialect: Dialect, fault: Fault, honest: Response) -> Response:
    if fault.kind is Kind.TOO_MANY:
        return _json(429, {"error": "too many requests"}, {"Retry-After": str(max(int(fault.seconds), 1))})
    if fault.kind is Kind.PARTIAL_REFUSAL:
        status, answer = dialect.refused("the number is not valid")
        return _json(status, answer)
    if fault.kind in (Kind.ERROR_BEFORE, Kind.ERROR_AFTER_ACCEPT):
        return _json(500, {"error": "internal error"})
    return await broken_answer(request, fault, honest)


def _json(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
