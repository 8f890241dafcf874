"""How we speak to Prefect's REST API: one client, two errors.

Plain HTTP and not Prefect's own client, because importing that takes seconds and a hundred megabytes, and
every process of the API would pay for it to make a handful of calls.
"""

import os
import time
from functools import lru_cache
from typing import Any, Final

import httpx

from db.errors import IcsError
from settings import get_settings

# Nobody waits for these calls, and on SQLite Prefect answers late while it works off the events of many task runs.
_TIMEOUT: Final = httpx.Timeout(20.0, connect=1.0)
_BUSY_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts while Prefect answers 503: on SQLite it does so whenever two writers meet."""


class OrchestratorUnavailable(IcsError):
    """Prefect did not do what it was asked; nothing is lost by asking again later."""


class OrchestratorRefused(OrchestratorUnavailable):
    """Prefect answered, and will answer the same again: a wrong address or password, or an invalid schedule."""


def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON that Prefect answers, `None` for an empty answer and for 404.

    Every call made here may be repeated: reads, upserts, and creations with an idempotency key.

    Raises:
        OrchestratorUnavailable: it cannot be reached, does not answer in time, or answers 5xx.
        OrchestratorRefused: it answers another 4xx than 404.
    """
    response = _send(method, path, body)
    if response.status_code == httpx.codes.NOT_FOUND or not (response.content or response.is_error):
        return None
    if response.is_server_error:
        raise OrchestratorUnavailable(f"Prefect answered {response.status_code} to {method} {path}")
    if response.is_error or not response.headers.get("content-type", "").startswith("application/json"):
        raise OrchestratorRefused(
            f"Prefect refused {method} {path} with {response.status_code}: {response.text[:500]}"
        )
    return response.json()


def _send(method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
    client = _client(get_settings().prefect_api_url, os.environ.get("PREFECT_API_AUTH_STRING", ""))
    for pause in (*_BUSY_PAUSES, None):
        try:
            response = client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise OrchestratorUnavailable(
                f"Prefect cannot be reached at {client.base_url}: {error!r}"
            ) from error
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or pause is None:
            break
        time.sleep(pause)
    return response


@lru_cache(maxsize=4)
def _client(url: str, auth: str) -> httpx.Client:
    """One pool of connections per server; httpx clients may be shared by threads."""
    user, _, password = auth.partition(":")
    return httpx.Client(base_url=url, timeout=_TIMEOUT, auth=(user, password) if auth else None)
