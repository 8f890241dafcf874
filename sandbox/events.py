"""What becomes of an accepted message: a seeded, realistic mix. The same seed and reference give the same fate. Pure."""

import base64
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from sandbox.config import SandboxConfig
from sandbox.journal import Accepted, Due

SENDGRID_ROUTE = "sendgrid"
DELIVERY_ROUTE = "sendmode/delivery"
REPLY_ROUTE = "sendmode/reply"
_BOUNCES = (
    ("bounce", "Invalid Address", "550 5.1.1 The email account that you tried to reach does not exist."),
    ("bounce", "Invalid Address", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found"),
    ("blocked", "Reputation", "550 5.7.1 Service unavailable; client host blocked"),
    ("blocked", "Mailbox Unavailable", "452 4.2.2 The email account is over quota"),
    ("blocked", "Content", "554 5.7.1 Message rejected due to content"),
)
_REPLIES = ("Thanks!", "Who is this?", "What are your opening hours?", "bus stop at 5?")
_STOPS = ("STOP", "Stop", " unsubscribe ", "OPT OUT")


@dataclass(frozen=True)
class Mail:
    """An accepted email as far as events are about it."""

    accepted: Accepted
    custom_args: dict[str, str]
    categories: list[str]
    urls: tuple[str, ...]


def mail_events(config: SandboxConfig, mail: Mail) -> Iterator[Due]:
    """SendGrid's events of one email, each with the moment it is posted; some come twice or too early."""
    chance = _chance(config.seed, mail.accepted.reference)
    moment = mail.accepted.accepted_at
    for number, (event, wait) in enumerate(_fate(chance, mail)):
        moment += wait
        event |= _common(mail, event["event"], number, moment)
        if event["event"] in ("unsubscribe", "group_unsubscribe") and chance.random() < 0.3:
            del event["sg_event_id"]
        due_at = mail.accepted.accepted_at + (moment - mail.accepted.accepted_at) * config.pace
        if chance.random() < config.disorder_rate:
            due_at = mail.accepted.accepted_at
        payload = orjson.dumps(event)
        yield Due(due_at, SENDGRID_ROUTE, payload)
        if chance.random() < config.duplicate_rate:
            yield Due(due_at + chance.random(), SENDGRID_ROUTE, payload)


def sms_events(config: SandboxConfig, accepted: Accepted) -> Iterator[Due]:
    """Sendmode's delivery reports of one SMS, and now and then a reply."""
    chance = _chance(config.seed, accepted.reference)
    status = chance.choices(
        ("DELIVRD", "UNDELIV", "EXPIRED", "REJECTD", "FAILED"), (0.955, 0.02, 0.01, 0.01, 0.005)
    )[0]
    stations = [("DISPATCHED", 0.2), (status, 0.5 + chance.random())]
    moment = accepted.accepted_at
    for number, (station, wait) in enumerate(stations):
        moment += wait
        report = {
            "EventID": _digest(accepted.reference, str(number))[:12],
            "Phonenumber": accepted.address.removeprefix("+"),
            "DataType": "DELIVERY",
            "Status": station,
            "CustomerID": accepted.reference,
        }
        due = Due(
            accepted.accepted_at + (moment - accepted.accepted_at) * config.pace,
            DELIVERY_ROUTE,
            orjson.dumps(report),
        )
        yield due
        if chance.random() < config.duplicate_rate:
            yield Due(due.due_at + chance.random(), DELIVERY_ROUTE, due.payload)
    if status == "DELIVRD" and chance.random() < 0.02:
        stops = chance.random() < 0.3
        reply = {
            "mobilenumber": accepted.address.removeprefix("+"),
            "command": chance.choice(_STOPS if stops else _REPLIES),
            "sentto": "TheShop",
        }
        yield Due(accepted.accepted_at + 3 * config.pace, REPLY_ROUTE, orjson.dumps(reply))


def _fate(chance: random.Random, mail: Mail) -> Iterator[tuple[dict[str, Any], float]]:
    """Events and the seconds between them."""
    draw = chance.random()
    if draw < 0.006:
        yield {"event": "dropped", "reason": chance.choice(("Bounced Address", "Unsubscribed Address"))}, 0.2
        return
    yield {"event": "processed"}, 0.3
    if draw < 0.03:
        kind, classification, reason = chance.choice(_BOUNCES)
        event = {"event": "bounce", "type": kind, "bounce_classification": classification, "reason": reason}
        yield event | {"status": reason.split()[1]}, 1.0
        return
    if chance.random() < 0.03:
        yield {"event": "deferred", "response": "450 4.2.1 try again later", "attempt": "1"}, 0.7
    yield {"event": "delivered", "response": "250 OK"}, 1.0
    yield from _behaviour(chance, mail)


def _behaviour(chance: random.Random, mail: Mail) -> Iterator[tuple[dict[str, Any], float]]:
    agent = {"useragent": "Mozilla/5.0", "ip": "192.0.2.1"}
    if chance.random() < 0.12:
        yield {"event": "open", "sg_machine_open": True, **agent}, 0.5
    if chance.random() < 0.3:
        yield {"event": "open", "sg_machine_open": False, **agent}, 1.5
        if mail.urls and chance.random() < 0.2:
            offset = {"index": 0, "type": "html"}
            yield {"event": "click", "url": chance.choice(mail.urls), "url_offset": offset, **agent}, 1.0
    draw = chance.random()
    if draw < 0.001:
        yield {"event": "spamreport"}, 1.0
    elif draw < 0.005:
        yield {"event": chance.choice(("unsubscribe", "group_unsubscribe")), **agent}, 1.0


def _common(mail: Mail, event: str, number: int, moment: float) -> dict[str, Any]:
    accepted = mail.accepted
    common: dict[str, Any] = {
        "email": accepted.address,
        "timestamp": int(moment),
        "sg_event_id": _digest(accepted.request_id, accepted.reference, str(number)),
        "sg_message_id": f"{accepted.request_id}.recvd-sandbox-{number}",
        "smtp-id": f"<{accepted.request_id}@sandbox>",
        **mail.custom_args,
    }
    if mail.categories:
        common["category"] = mail.categories if len(mail.categories) > 1 else mail.categories[0]
    return common


def _chance(seed: int, reference: str) -> random.Random:
    # The digits behind the dash tell messages apart; the random part before it would make every run another one.
    return random.Random(f"{seed}/{reference.rpartition('-')[2]}")  # noqa: S311 - a fate, no secret


def _digest(*parts: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256("/".join(parts).encode()).digest())[:22].decode()
