"""Sendmode's dialects. What is uncertain about its API is in these small profiles and nowhere else. Pure.

`v1` is the default (`POST /v1/messages`). `rest2` and `rest3` follow Sendmode's published REST 2 and 3 documents.
All take the key as it is in `Authorization`; `authorization` of a profile is the place for another scheme.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from settings import SendmodeProfile


@dataclass(frozen=True)
class Sms:
    """One SMS. `to` is E.164; `reference` is ours and comes back with delivery reports."""

    to: str
    text: str
    sender: str
    reference: str


@dataclass(frozen=True)
class Profile:
    """`path`, how the body is made, and how a 2xx answer says that the message was taken.

    `read_id` returns the provider's id (or "" where the dialect has none) for a message that was taken, and raises
    `Refusal` for one that was not, and `KeyError`/`TypeError`/`ValueError` for an answer it cannot read.
    """

    path: str
    body: Callable[[Sms], dict[str, Any]]
    read_id: Callable[[Mapping[str, Any]], str]
    authorization: str = "{key}"


class Refusal(Exception):
    """A 2xx answer that says no."""


def profile_of(name: SendmodeProfile) -> Profile:
    return _PROFILES[name]


def encode(profile: Profile, sms: Sms) -> bytes:
    return orjson.dumps(profile.body(sms))


def _v1_body(sms: Sms) -> dict[str, Any]:
    return {"sender": sms.sender, "to": sms.to, "text": sms.text, "reference": sms.reference}


def _v1_id(answer: Mapping[str, Any]) -> str:
    if str(answer.get("status", "")).lower() in ("rejected", "failed", "error"):
        raise Refusal(str(answer.get("error") or answer["status"]))
    message_id = answer["id"]
    if isinstance(message_id, bool) or not isinstance(message_id, str | int) or not str(message_id).strip():
        raise ValueError("no id")
    return str(message_id)


def _rest2_body(sms: Sms) -> dict[str, Any]:
    return {
        "messagetext": sms.text,
        "recipients": [sms.to.removeprefix("+")],
        "senderid": sms.sender,
        "customerid": sms.reference,
    }


def _rest2_id(answer: Mapping[str, Any]) -> str:
    code = int(answer["statusCode"])
    if code != 0:
        raise Refusal(f"{answer.get('message') or answer.get('status') or 'refused'} (statusCode {code})")
    if answer["status"] != "OK":
        raise ValueError("status and statusCode contradict each other")
    return ""


def _rest3_body(sms: Sms) -> dict[str, Any]:
    return {
        "sender_id": sms.sender,
        "message": sms.text,
        "mobile_number": sms.to,
        "customer_id": sms.reference,
    }


def _rest3_id(answer: Mapping[str, Any]) -> str:
    if answer.get("is_successful") is True:
        return ""
    if answer.get("is_successful") is False or answer.get("error_message"):
        raise Refusal(str(answer.get("error_message") or "not successful"))
    raise ValueError("neither is_successful nor error_message")


_PROFILES: Mapping[SendmodeProfile, Profile] = {
    SendmodeProfile.V1: Profile("/v1/messages", _v1_body, _v1_id),
    SendmodeProfile.REST2: Profile("/v2/send", _rest2_body, _rest2_id),
    SendmodeProfile.REST3: Profile("/3.0/send", _rest3_body, _rest3_id),
}
