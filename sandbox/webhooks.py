"""Posts what the outbox holds: SendGrid's events in signed arrays, Sendmode's reports and replies one by one.

Not acknowledged is tried again with a growing pause, as the providers do; the outbox is in the journal's file, so a
sandbox that was stopped goes on where it was.
"""

import asyncio
import time
from urllib.parse import urlencode

import httpx
import orjson
import structlog
from starlette.concurrency import run_in_threadpool

from sandbox.config import SandboxConfig
from sandbox.events import DELIVERY_ROUTE, REPLY_ROUTE, SENDGRID_ROUTE
from sandbox.journal import Journal, Waiting
from sandbox.keys import ensure_keypair, load_private_key, sign_events, sign_report

log = structlog.get_logger()
EVENTS_PER_POST = 1000
REPORTS_AT_A_TIME = 16
_IDLE_SECONDS = 0.05
_LONGEST_PAUSE = 30.0


class Poster:
    """Two loops, one per provider."""

    def __init__(self, config: SandboxConfig, journal: Journal) -> None:
        ensure_keypair(config.home)
        self._key = load_private_key(config.home)
        self._config = config
        self._journal = journal
        self._client = httpx.AsyncClient(base_url=config.webhook_base_url, timeout=30.0, trust_env=False)

    async def run(self) -> None:
        """Post until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._post_events())
                group.create_task(self._post_reports(DELIVERY_ROUTE))
                group.create_task(self._post_reports(REPLY_ROUTE))
        finally:
            await self._client.aclose()

    async def _post_events(self) -> None:
        while True:
            waiting = await self._due(SENDGRID_ROUTE, EVENTS_PER_POST)
            if not waiting:
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            # The bytes are SendGrid's: events apart by `},\r\n{`, and a line break at the end.
            body = b"[" + b",\r\n".join(item.payload for item in waiting) + b"]\r\n"
            timestamp = str(int(time.time()))
            headers = {
                "Content-Type": "application/json",
                "X-Twilio-Email-Event-Webhook-Signature": sign_events(self._key, timestamp, body),
                "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
            }
            await self._deliver(
                waiting,
                self._client.build_request("POST", "/webhooks/sendgrid", content=body, headers=headers),
            )

    async def _post_reports(self, route: str) -> None:
        while True:
            waiting = await self._due(route, REPORTS_AT_A_TIME)
            if not waiting:
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            async with asyncio.TaskGroup() as group:
                for item in waiting:
                    group.create_task(self._deliver([item], self._report(route, item)))

    def _report(self, route: str, item: Waiting) -> httpx.Request:
        """Sendmode calls by GET or POST, as query, form or JSON, with keys in any case: each gets its turn."""
        fields = orjson.loads(item.payload)
        cased = [fields, {k.lower(): v for k, v in fields.items()}, {k.upper(): v for k, v in fields.items()}]
        fields = cased[item.id % len(cased)]
        timestamp = str(int(time.time()))
        way = (item.id // len(cased)) % 3
        query, body, kind = "", b"", ""
        if way == 0:
            query = urlencode(fields)
        elif way == 1:
            body, kind = urlencode(fields).encode(), "application/x-www-form-urlencoded"
        else:
            body, kind = orjson.dumps(fields), "application/json"
        headers = {
            "X-Sendmode-Timestamp": timestamp,
            "X-Sendmode-Signature": sign_report(
                self._config.sendmode_webhook_secret, timestamp, query.encode() if way == 0 else body
            ),
        }
        if way == 0:
            return self._client.build_request("GET", f"/webhooks/{route}?{query}", headers=headers)
        return self._client.build_request(
            "POST", f"/webhooks/{route}", content=body, headers={**headers, "Content-Type": kind}
        )

    async def _deliver(self, waiting: list[Waiting], request: httpx.Request) -> None:
        ids = [item.id for item in waiting]
        try:
            response = await self._client.send(request)
            is_taken = response.is_success and (
                request.url.path == "/webhooks/sendgrid" or "True" in response.text
            )
        except httpx.HTTPError:
            is_taken = False
        now = time.time()
        if is_taken:
            await run_in_threadpool(self._journal.posted, ids, now)
            return
        tries = max(item.attempts for item in waiting)
        pause = min(0.5 * 2.0**tries, _LONGEST_PAUSE)
        log.warning("webhook not acknowledged", path=request.url.path, events=len(ids), again_in=pause)
        await run_in_threadpool(self._journal.postpone, ids, now + pause)

    async def _due(self, route: str, limit: int) -> list[Waiting]:
        return await run_in_threadpool(self._journal.due, route, time.time(), limit)
