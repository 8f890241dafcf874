"""What both providers share on the wire: a pooled client, and which failures leave no doubt."""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from tasks.providers.bounded import BoundedTransport
from tasks.providers.outcomes import NotTaken, RequestRefused, Unknown

LONGEST_RETRY_AFTER = 3600.0
# Failures before a single byte of the request left: the provider cannot have taken it.
_BEFORE_THE_BODY = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
# Found while the request is made, e.g. a key with a line break in it: nothing left either.
_MISCONFIGURED = (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError, UnicodeEncodeError)


def make_client(timeout_seconds: float, connections: int) -> httpx.Client:
    """A client that keeps its connections, and whose exchanges take at most `timeout_seconds` from first to last.

    Idle ones are dropped after 5 s, long before providers do, and the pool never hands out one that it sees closed.
    What is left is a connection that the other side closes while the request is on its way: nobody knows then
    whether it was read, so it is `unknown`, and every unknown message costs a person's attention.
    """
    limits = httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=5.0
    )
    timeout = httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 10.0))
    # Proxies of the environment are not for us: what leaves here carries personal data.
    return httpx.Client(
        transport=BoundedTransport(timeout_seconds, limits),
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
    )


def exchange(request: Callable[[], httpx.Response]) -> httpx.Response | NotTaken | RequestRefused | Unknown:
    """Make the request; a failure says whether the provider may have taken it."""
    try:
        return request()
    except _MISCONFIGURED as error:
        return RequestRefused(f"the request cannot be made: {type(error).__name__}: {error}"[:500])
    except _BEFORE_THE_BODY as error:
        return NotTaken(f"no connection: {type(error).__name__}: {error}"[:500])
    except httpx.HTTPError as error:
        return Unknown(f"no answer: {type(error).__name__}: {error}"[:500])


def was_redirected(response: httpx.Response) -> bool:
    """Whether the answer sends us elsewhere: the request was not taken (303 would say that it was, RFC 9110 15.4)."""
    return 300 <= response.status_code < 400 and response.status_code != 303


def retry_after(response: httpx.Response, now: datetime | None = None) -> float | None:
    """Seconds until the provider wants to be asked again: Retry-After (RFC 9110), or SendGrid's
    X-RateLimit-Reset (epoch seconds). Between 0 and an hour; None when it does not say.

    Moments are the provider's, so they are measured against its own clock, the answer's Date: by the clock of a worker
    that is an hour behind, the provider would want an hour of silence. `now` stands in where there is no Date.
    """
    moment = _moment(response.headers.get("Date")) or now or datetime.now(UTC)
    said = response.headers.get("Retry-After")
    if said is not None:
        seconds = _seconds_or_date(said, moment)
    else:
        seconds = _number(response.headers.get("X-RateLimit-Reset"))
        seconds = None if seconds is None else seconds - moment.timestamp()
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _seconds_or_date(said: str, now: datetime) -> float | None:
    number = _number(said)
    if number is not None:
        return number
    moment = _moment(said)
    return None if moment is None else (moment - now).total_seconds()


def _moment(date: str | None) -> datetime | None:
    """An HTTP date (RFC 9110 5.6.7), None when it is none."""
    try:
        moment = parsedate_to_datetime(date or "")
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and text.strip().isascii() and text.strip().isdigit() else None
