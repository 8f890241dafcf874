"""SendGrid Mail Send v3 on the wire. The only file that posts mail."""

import re
from collections.abc import Mapping

import httpx
import orjson

from tasks.providers.http import exchange, make_client, retry_after, was_redirected
from tasks.providers.outcomes import (
    Accepted,
    BatchOutcome,
    NotTaken,
    PartlyRefused,
    RequestRefused,
    Unknown,
)

_RECIPIENT = re.compile(r"personalizations\.(\d{1,4})(?:\.|$)")


class SendGridMessenger:
    """Posts batches. One instance per process: its connections are shared by all lanes."""

    def __init__(self, base_url: str, api_key: str, *, timeout_seconds: float, connections: int = 16) -> None:
        self._url = f"{base_url}/v3/mail/send"
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        self._client = make_client(timeout_seconds, connections)

    def send(self, body: bytes, *, sandbox_mode: bool = False) -> BatchOutcome:
        """Post one request body (see `sendgrid_payload`); never raises for what the network or SendGrid do.

        `sandbox_mode` says that the body asks for SendGrid's sandbox mode, which answers 200.
        """
        answer = exchange(lambda: self._client.post(self._url, content=body, headers=self._headers))
        if isinstance(answer, httpx.Response):
            return classify(answer, sandbox_mode=sandbox_mode)
        return answer

    def close(self) -> None:
        self._client.close()


def classify(response: httpx.Response, *, sandbox_mode: bool = False) -> BatchOutcome:
    """SendGrid's answer as an outcome (Mail Send v3, "Errors"; 429: "Rate Limits").

    Only a 202 says that mail was taken (a 200 that it would have been, in sandbox mode): any other 2xx comes from
    something that stands in between.
    """
    status = response.status_code
    if status == 202 or (status == 200 and sandbox_mode):
        return Accepted(response.headers.get("X-Message-Id"))
    if status == 429:
        return NotTaken("429: rate limit", retry_after(response))
    if status == 400:
        return _refusal(response)
    if was_redirected(response) or (400 <= status < 500 and status != 408):
        return RequestRefused(f"{status}: {_first_message(response)}", status)
    return Unknown(f"{status} after the body was sent")


def _refusal(response: httpx.Response) -> BatchOutcome:
    refused: dict[int, str] = {}
    for error in _errors(response):
        found = _RECIPIENT.match(str(error.get("field") or ""))
        if found is None:
            return RequestRefused(f"400: {_first_message(response)}", 400)
        refused.setdefault(int(found.group(1)), str(error.get("message") or "refused")[:150])
    if not refused:
        return RequestRefused(f"400: {_first_message(response)}", 400)
    return PartlyRefused(refused)


def _errors(response: httpx.Response) -> list[Mapping[str, object]]:
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return []
    errors = document.get("errors") if isinstance(document, dict) else None
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def _first_message(response: httpx.Response) -> str:
    for error in _errors(response):
        return f"{error.get('message')} (field {error.get('field')})"[:500]
    return response.reason_phrase or "no reason given"
