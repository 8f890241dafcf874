"""Delivers events to endpoints: at least once, with the same id each time, and in no promised order."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
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
from tasks.signing import secret_keys

log = structlog.get_logger()
BACKOFF: Final = (5, 60, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""Seconds until the next attempt, after each one that failed: about three days in all."""
TIMEOUT_SECONDS: Final = 15.0
DISABLE_AFTER: Final = timedelta(days=5)
KEPT: Final = timedelta(days=30)
AT_ONCE: Final = 16
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

    An endpoint that fails is left alone until the next time: a slow one must not keep the others waiting.
    """
    taken, until = 0, time.monotonic() + seconds
    failing: set[int] = set()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="outgoing") as pool:
        while time.monotonic() < until:
            # No more than are tried at once: what hangs is known after one attempt, and left alone from then on.
            due = database.run(
                lambda s: outgoing.claim_due(
                    s, limit=AT_ONCE, lease_seconds=_LEASE_SECONDS, leave_out=failing
                )
            )
            if not due:
                break
            outcomes = pool.map(lambda each: attempt(settings, each), due)
            for each, outcome in zip(due, outcomes, strict=True):
                taken += _record(database, each, outcome)
                if outcome.error is not None:
                    failing.add(each.endpoint_id)
    for endpoint_id in database.run(lambda s: outgoing.disable_failing(s, after=DISABLE_AFTER)):
        log.warning("webhook endpoint disabled", endpoint_id=endpoint_id)
    return taken


def forget_old(database: Database) -> int:
    """Forget what was told long ago; returns how many events."""
    forgotten = 0
    while some := database.run(lambda s: outgoing.delete_old_events(s, older_than=KEPT, limit=1_000)):
        forgotten += some
    return forgotten


def attempt(settings: Settings, due: Due) -> Outcome:
    """One POST; never raises for what the other side does. 2xx within 15 seconds is a success, and no redirect is followed."""
    keys = secret_keys(settings)
    shared = [opened for each in due.secrets if (opened := open_secret(keys, each)) is not None]
    if not shared:
        return Outcome(error="its secret was encrypted with a key this installation no longer has: rotate it")
    body = body_of(due)
    try:
        target = find_target(due.url, allow_private=settings.webhook_allow_private)
        with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS, follow_redirects=False) as client:
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
    deadline = time.monotonic() + TIMEOUT_SECONDS
    answer = client.send(request, stream=True)
    try:
        seen = 0
        for piece in answer.iter_raw():
            seen += len(piece)
            if seen > _LARGEST_ANSWER or time.monotonic() > deadline:
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
