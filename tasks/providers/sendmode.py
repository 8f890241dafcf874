"""Sendmode on the wire: one request a message, many at a time. The only file that posts SMS."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import orjson

from settings import SendmodeProfile
from tasks.providers.http import exchange, make_client, retry_after, was_redirected
from tasks.providers.outcomes import (
    Accepted,
    MessageOutcome,
    MessageRefused,
    NotTaken,
    RequestRefused,
    Unknown,
)
from tasks.providers.sendmode_profiles import Profile, Refusal, Sms, encode, profile_of

# The answers that are about the account and not about this message.
_ABOUT_THE_ACCOUNT = (401, 402, 403, 404, 405, 407, 415)


class SendmodeMessenger:
    """Posts SMS over kept connections. One instance per process, shared by all lanes."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        profile: SendmodeProfile,
        timeout_seconds: float,
        concurrency: int,
    ) -> None:
        self._profile = profile_of(profile)
        self._url = base_url + self._profile.path
        key = self._profile.authorization.format(key=api_key)
        self._headers = {"Authorization": key, "Content-Type": "application/json"}
        self.concurrency = concurrency
        self._client = make_client(timeout_seconds, concurrency)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="sendmode")

    def send(self, sms: Sms) -> MessageOutcome:
        """Post one SMS; never raises for what the network or Sendmode do."""
        try:
            body = encode(self._profile, sms)
        except orjson.JSONEncodeError:
            return MessageRefused("the text is not valid Unicode")
        answer = exchange(lambda: self._client.post(self._url, content=body, headers=self._headers))
        return classify(self._profile, answer) if isinstance(answer, httpx.Response) else answer

    def send_many(
        self, messages: Sequence[Sms], *, begin_at: Callable[[int], float], deadline: float
    ) -> list[MessageOutcome]:
        """Post all of them, in the order given; the outcomes are in the same order.

        Request number n (from 0) is not begun before `begin_at(n)`, and none after `deadline` (both
        time.monotonic): what was not begun is NotTaken. Once the account is refused, or told to wait, the rest is
        not tried.
        """
        stop: list[RequestRefused | NotTaken] = []

        def one(number: int, sms: Sms) -> MessageOutcome:
            moment = begin_at(number)
            if max(moment, time.monotonic()) > deadline:
                return NotTaken("out of time before it was begun", 0.0)
            time.sleep(max(0.0, moment - time.monotonic()))
            if stop:
                return stop[0]
            outcome = self.send(sms)
            if isinstance(outcome, RequestRefused) or (isinstance(outcome, NotTaken) and outcome.retry_after):
                stop.append(outcome)
            return outcome

        return list(self._pool.map(one, range(len(messages)), messages))

    def close(self) -> None:
        self._pool.shutdown()
        self._client.close()


def classify(profile: Profile, response: httpx.Response) -> MessageOutcome:
    """Sendmode's answer as an outcome, read by the profile."""
    status = response.status_code
    if 200 <= status < 300:
        return _read_success(profile, response)
    if status == 429:
        return NotTaken("429: rate limit", retry_after(response))
    if status in _ABOUT_THE_ACCOUNT or was_redirected(response):
        return RequestRefused(f"{status}: {response.text[:200] or response.reason_phrase}", status)
    if 400 <= status < 500 and status != 408:
        return MessageRefused(f"{status}: {response.text[:150]}")
    return Unknown(f"{status} after the body was sent")


def _read_success(profile: Profile, response: httpx.Response) -> MessageOutcome:
    try:
        answer = orjson.loads(response.content)
        return Accepted(profile.read_id(answer) or None)
    except Refusal as refusal:
        return MessageRefused(str(refusal)[:150])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return Unknown(f"{response.status_code} with an answer that cannot be read")
