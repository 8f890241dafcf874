"""Posts what the outbox holds: SendGrid's events in signed arrays, Sendmode's reports and replies one by one.

What is not acknowledged is tried again with a growing pause, for as long as the sandbox lives; the outbox is in the
journal's file, so one that was stopped goes on where it was.

SendGrid: `POST {base}/webhooks/sendgrid`, a JSON array with `},\\r\\n{` between events and `\\r\\n` at the end.
`X-Twilio-Email-Event-Webhook-Timestamp` is the moment in epoch seconds, `X-Twilio-Email-Event-Webhook-Signature` the
base64 of the DER of an ECDSA signature (P-256, SHA-256) over the bytes of that timestamp + the raw body. Any 2xx
acknowledges.

Sendmode: `{base}/webhooks/sendmode/delivery` and `{base}/webhooks/sendmode/reply`, in turn as GET with a query, as
POST with a form, and as POST with JSON, with keys as documented, in lower and in upper case.
`X-Sendmode-Timestamp` is the moment in epoch seconds, `X-Sendmode-Signature` the hexadecimal HMAC-SHA256, with the
webhook's secret as the key, over the bytes of that timestamp + the raw body; for a GET, over the timestamp + the raw
query string (what follows the `?`). A 2xx whose body contains `True` acknowledges.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import structlog
from starlette.concurrency import run_in_threadpool

from sandbox.config import SandboxConfig
from sandbox.journal import Journal, Waiting
from sandbox.keys import ensure_keypair, load_private_key, sign_events, sign_report
from sandbox.parcels import BETWEEN_EVENTS, DELIVERY_ROUTE, MAX_BYTES, MAX_EVENTS, REPLY_ROUTE, SENDGRID_ROUTE

log = structlog.get_logger()
EVENT_POSTS_AT_A_TIME = 4
REPORTS_AT_A_TIME = 16
TIMEOUT_SECONDS = 30.0
_PARCELS_AT_A_TIME = 200
_IDLE_SECONDS = 0.05
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class Poster:
    """A loop per route; each posts several at a time."""

    def __init__(self, config: SandboxConfig, journal: Journal) -> None:
        ensure_keypair(config.home)
        self._key = load_private_key(config.home)
        self._secret = config.sendmode_webhook_secret
        self._journal = journal
        self._client = httpx.AsyncClient(
            base_url=config.webhook_base_url, timeout=TIMEOUT_SECONDS, trust_env=False
        )

    async def run(self) -> None:
        """Post until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_posting(SENDGRID_ROUTE, self._post_events))
                group.create_task(self._keep_posting(DELIVERY_ROUTE, self._post_reports))
                group.create_task(self._keep_posting(REPLY_ROUTE, self._post_reports))
        finally:
            await self._client.aclose()

    async def _keep_posting(
        self, route: str, post: Callable[[str, Sequence[Waiting]], Awaitable[None]]
    ) -> None:
        limit = _PARCELS_AT_A_TIME if route == SENDGRID_ROUTE else REPORTS_AT_A_TIME
        while True:
            try:
                waiting = await run_in_threadpool(self._journal.due, route, time.time(), limit)
                await post(route, waiting)
            except* sqlite3.Error:
                # A full disk or a locked file passes; the parcels are still there and are posted again.
                log.exception("the outbox cannot be used", route=route)
                waiting = []
            if not waiting:
                await asyncio.sleep(_IDLE_SECONDS)

    async def _post_events(self, route: str, waiting: Sequence[Waiting]) -> None:
        # The newest wait for the next turn rather than letting one receiver have more posts at a time.
        posts = list(posts_of(waiting))[:EVENT_POSTS_AT_A_TIME]
        async with asyncio.TaskGroup() as group:
            for parcels in posts:
                group.create_task(self._deliver(parcels, self._events_request(route, parcels)))

    async def _post_reports(self, route: str, waiting: Sequence[Waiting]) -> None:
        async with asyncio.TaskGroup() as group:
            for parcel in waiting:
                group.create_task(self._deliver([parcel], self._report_request(route, parcel)))

    def _events_request(self, route: str, parcels: Sequence[Waiting]) -> httpx.Request:
        body = b"[" + BETWEEN_EVENTS.join(parcel.payload for parcel in parcels) + b"]\r\n"
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "SendGrid Event API",
            "X-Twilio-Email-Event-Webhook-Signature": sign_events(self._key, timestamp, body),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        }
        return self._client.build_request("POST", f"/webhooks/{route}", content=body, headers=headers)

    def _report_request(self, route: str, parcel: Waiting) -> httpx.Request:
        query, body, headers = wire_form(parcel)
        timestamp = str(int(time.time()))
        headers["X-Sendmode-Timestamp"] = timestamp
        headers["X-Sendmode-Signature"] = sign_report(self._secret, timestamp, body or query.encode())
        path = f"/webhooks/{route}"
        if query:
            return self._client.build_request("GET", f"{path}?{query}", headers=headers)
        return self._client.build_request("POST", path, content=body, headers=headers)

    async def _deliver(self, parcels: Sequence[Waiting], request: httpx.Request) -> None:
        refusal = await self._refusal(request)
        if refusal is None:
            await run_in_threadpool(self._journal.posted, parcels)
            return
        pause = pause_after(max(parcel.attempts for parcel in parcels))
        log.warning("webhook not acknowledged", path=request.url.path, reason=refusal, again_in=pause)
        await run_in_threadpool(self._journal.postpone, parcels, time.time() + pause)

    async def _refusal(self, request: httpx.Request) -> str | None:
        """Post; None when it was acknowledged."""
        try:
            response = await self._client.send(request)
        except httpx.HTTPError as error:
            return type(error).__name__
        if not response.is_success:
            return str(response.status_code)
        if request.url.path.startswith("/webhooks/sendmode/") and "True" not in response.text:
            return "the answer has no True"
        return None


def posts_of(waiting: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """Parcels in order, as many together as one POST takes (1,000 events; SendGrid's size limit)."""
    together: list[Waiting] = []
    events = size = 0
    for parcel in waiting:
        if together and (events + parcel.events > MAX_EVENTS or size + len(parcel.payload) > MAX_BYTES):
            yield together
            together, events, size = [], 0, 0
        together.append(parcel)
        events += parcel.events
        size += len(parcel.payload) + len(BETWEEN_EVENTS)
    if together:
        yield together


def wire_form(parcel: Waiting) -> tuple[str, bytes, dict[str, str]]:
    """Query, body and headers of a report: each way to write it gets its turn. Either query or body is empty."""
    fields: dict[str, Any] = orjson.loads(parcel.payload)
    cases: tuple[Callable[[str], str], ...] = (str, str.lower, str.upper)
    case = cases[parcel.id % 3]
    fields = {case(name): value for name, value in fields.items()}
    way = (parcel.id // 3) % 3
    if way == 0:
        return urlencode(fields), b"", {}
    if way == 1:
        return "", urlencode(fields).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    return "", orjson.dumps(fields), {"Content-Type": "application/json"}


def pause_after(attempts: int) -> float:
    """Seconds until the next attempt, after so many that failed before this one."""
    return float(min(_FIRST_PAUSE * 2 ** min(attempts, 10), _LONGEST_PAUSE))
