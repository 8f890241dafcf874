"""Delivers events to endpoints: at least once, with the same id each time, and in no promised order."""

import random
import time
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import httpx
import orjson
import structlog

from db.engine import Database, Session
from db.queries import outgoing
from db.queries.outgoing import Due
from settings import Settings
from tasks.outgoing.addresses import Unreachable, find_target
from tasks.outgoing.signatures import open_secret, sign_headers
from tasks.providers.bounded import BoundedTransport
from tasks.signing import secret_keys

log = structlog.get_logger()
BACKOFF: Final = (5, 60, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""Seconds until the next attempt, after each one that failed: about three days in all."""
TIMEOUT_SECONDS: Final = 15.0
"""For connection, request and answer together."""
DISABLE_AFTER: Final = timedelta(days=5)
KEPT: Final = timedelta(days=30)
AT_ONCE: Final = 32
SHARE: Final = 8
"""So many of these may be under way to one endpoint."""
# Longer than an attempt may take, so that nobody else tries meanwhile.
_LEASE_SECONDS: Final = 90.0
_GONE: Final = 410
_LARGEST_ANSWER: Final = 64 * 1024


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt; `error` None: it was taken."""

    status: int | None = None
    error: str | None = None


def deliver_due(database: Database, settings: Settings, *, seconds: float = 45.0) -> int:
    """Deliver what is due, for up to so many seconds; returns how many were taken.

    An endpoint that fails is left alone until the next time, and none has more than its share of what is under way: neither a
    dead one nor a slow one keeps the others waiting.
    """
    taken, until = 0, time.monotonic() + seconds
    failing: set[int] = set()
    under_way: dict[Future[Outcome], Due] = {}
    with open_client() as client, ThreadPoolExecutor(AT_ONCE, thread_name_prefix="outgoing") as pool:
        while True:
            if time.monotonic() < until:
                for due in _claim(database, under_way.values(), failing):
                    under_way[pool.submit(attempt, client, settings, due)] = due
            if not under_way:
                break
            for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                due, outcome = under_way.pop(done), done.result()
                taken += _record(database, due, outcome)
                if outcome.error is not None:
                    failing.add(due.endpoint_id)
    for endpoint_id in database.run(lambda s: outgoing.disable_failing(s, after=DISABLE_AFTER)):
        log.warning("webhook endpoint disabled", endpoint_id=endpoint_id)
    return taken


def _claim(database: Database, under_way: Collection[Due], failing: Collection[int]) -> Sequence[Due]:
    busy = Counter(due.endpoint_id for due in under_way)
    return database.run(
        lambda s: outgoing.claim_due(
            s,
            limit=AT_ONCE - len(under_way),
            share=SHARE,
            busy=busy,
            lease_seconds=_LEASE_SECONDS,
            leave_out=failing,
        )
    )


def forget_old(database: Database) -> int:
    """Forget what was told long ago, and secrets that sign nothing any more; returns how many events."""
    database.run(outgoing.forget_old_secrets)
    forgotten = 0
    while some := database.run(lambda s: outgoing.delete_old_events(s, older_than=KEPT, limit=1_000)):
        forgotten += some
    return forgotten


def open_client() -> httpx.Client:
    """For attempts at once. No connection is kept: one that was opened to an address for one name must not serve another name."""
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
    transport = BoundedTransport(TIMEOUT_SECONDS, limits)
    return httpx.Client(transport=transport, trust_env=False, timeout=TIMEOUT_SECONDS, follow_redirects=False)


def attempt(client: httpx.Client, settings: Settings, due: Due) -> Outcome:
    """One POST; never raises for what the other side does. 2xx within 15 seconds is a success, and no redirect is followed."""
    keys = secret_keys(settings)
    shared = [opened for each in due.secrets if (opened := open_secret(keys, each)) is not None]
    if not shared:
        return Outcome(error="its secret was encrypted with a key this installation no longer has: rotate it")
    body = body_of(due)
    began = time.monotonic()
    try:
        target = find_target(due.url, allow_private=settings.webhook_allow_private)
        # The system's resolver cannot be cut short; but nothing is posted so late that another process may do it too.
        if time.monotonic() - began > TIMEOUT_SECONDS:
            return Outcome(error="the name of the host was found too late")
        headers = {
            **sign_headers(shared, due.uid, int(time.time()), body),
            "Host": target.host_header,
            "Content-Type": "application/json",
            "User-Agent": "ICS-Automation-Webhooks/1",
        }
        request = client.build_request("POST", target.url, content=body, headers=headers)
        request.extensions["sni_hostname"] = target.host
        return _send(client, request)
    except Unreachable as error:
        return Outcome(error=str(error))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Outcome(error=type(error).__name__)


def body_of(due: Due) -> bytes:
    """The same bytes at each attempt."""
    document = {"type": due.kind, "timestamp": due.happened_at.isoformat(), "data": dict(due.data)}
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def again_in(attempt: int, *, jitter: float) -> float | None:
    """Seconds until the next attempt, a fifth more or less; None: that was the last one."""
    if attempt > len(BACKOFF):
        return None
    return BACKOFF[attempt - 1] * (0.8 + 0.4 * jitter)


def _send(client: httpx.Client, request: httpx.Request) -> Outcome:
    answer = client.send(request, stream=True)
    try:
        # The status is the answer; its text is only listened to, as long as there is time, so that it is not cut off.
        with suppress(httpx.HTTPError):
            seen = 0
            for piece in answer.iter_raw():
                seen += len(piece)
                if seen > _LARGEST_ANSWER:
                    break
    finally:
        answer.close()
    is_good = 200 <= answer.status_code < 300
    return Outcome(answer.status_code, None if is_good else f"answered {answer.status_code}")


def _record(database: Database, due: Due, outcome: Outcome) -> bool:
    pause = again_in(due.attempt, jitter=random.random())
    is_gone = outcome.status == _GONE

    def work(session: Session) -> None:
        outgoing.record_delivery(
            session,
            due,
            status=outcome.status,
            error=outcome.error,
            again_in=None if is_gone else pause,
        )
        if is_gone:
            outgoing.disable_endpoint(session, due.endpoint_id, "answered 410: it wants nothing more")

    database.run(work)
    return outcome.error is None
