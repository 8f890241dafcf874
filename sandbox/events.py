"""What becomes of an accepted email, as SendGrid reports it: a seeded, realistic mix. Pure.

The same seed and reference give the same fate. Source of the fields: Twilio SendGrid, "Event Webhook Reference".
"""

import base64
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from sandbox.config import SandboxConfig
from sandbox.journal import Accepted
from sandbox.parcels import SENDGRID_ROUTE, Due
from sandbox.sendgrid_content import links_of

DROPPED = 0.006
BOUNCED = 0.024
DEFERRED = 0.03
OPENED_BY_MACHINE = 0.12
OPENED = 0.3
CLICKED_OF_OPENED = 0.2
COMPLAINED = 0.001
UNSUBSCRIBED = 0.004
WITHOUT_EVENT_ID = 0.3  # of the unsubscribe kinds
WITHOUT_MESSAGE_ID = 0.1  # of the bounces: those that come after the mail was taken
OTHER_EVENT_ID = 0.3  # of the events that are posted twice
LATEST = 1.5  # seconds, before `pace`, by which an event comes behind others
# Type, bounce_classification, reason.
_BOUNCES = (
    ("bounce", "Invalid Address", "550 5.1.1 The email account that you tried to reach does not exist."),
    ("bounce", "Invalid Address", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found"),
    ("blocked", "Reputation", "550 5.7.1 Service unavailable; client host blocked"),
    ("blocked", "Mailbox Unavailable", "452 4.2.2 The email account is over quota"),
    ("blocked", "Content", "554 5.7.1 Message rejected due to content"),
)
_DROP_REASONS = ("Bounced Address", "Unsubscribed Address", "Spam Reporting Address", "Invalid")
_READERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
)
_MACHINE = "Mozilla/5.0"
_AT_DELIVERY = frozenset({"processed", "deferred", "delivered", "bounce", "dropped"})
_UNSUBSCRIBES = ("unsubscribe", "group_unsubscribe")

Fact = tuple[dict[str, Any], float]
"""What an event says of itself, and the seconds since the one before."""


@dataclass(frozen=True)
class Mail:
    """An accepted email as far as events are about it. `html` is what the recipient got."""

    accepted: Accepted
    custom_args: dict[str, str] = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    html: str = ""
    asm_group_id: int | None = None
    is_open_tracked: bool = True
    is_click_tracked: bool = True


def mail_events(config: SandboxConfig, mail: Mail) -> Iterator[Due]:
    """SendGrid's events of one email, each with the moment it is posted; some come twice, some late."""
    chance = chance_of(config.seed, mail.accepted)
    facts = list(_fate(chance, mail))
    common, token = _common(mail), _token(mail.accepted)
    happened_at = mail.accepted.accepted_at
    for number, (fact, wait) in enumerate(facts):
        happened_at += wait * config.pace
        event = common | fact
        event["timestamp"] = int(happened_at)
        event["sg_event_id"] = f"{token}{number:02d}"
        _spoil(chance, event, mail)
        yield from _postings(config, chance, event, happened_at)


def chance_of(seed: int, accepted: Accepted) -> random.Random:
    """What decides about a message.

    The digits behind the dash of its reference tell messages apart; the part before it is made up by each run, and
    would make every run another one.
    """
    key = accepted.reference.rpartition("-")[2] or accepted.address
    return random.Random(int.from_bytes(hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()))


def _fate(chance: random.Random, mail: Mail) -> Iterator[Fact]:
    draw = chance.random()
    if draw < DROPPED:
        yield {"event": "dropped", "reason": chance.choice(_DROP_REASONS)}, 0.2
        return
    yield {"event": "processed"}, 0.3
    if draw < DROPPED + BOUNCED:
        kind, classification, reason = chance.choice(_BOUNCES)
        fact = {"event": "bounce", "type": kind, "bounce_classification": classification, "reason": reason}
        yield fact | {"status": reason.split()[1], "ip": "198.51.100.7", "tls": 1}, 1.0
        return
    if chance.random() < DEFERRED:
        yield {"event": "deferred", "response": "450 4.2.1 try again later", "attempt": "1"}, 0.7
    yield {"event": "delivered", "response": "250 2.0.0 OK", "ip": "198.51.100.7", "tls": 1}, 1.0
    yield from _behaviour(chance, mail)


def _behaviour(chance: random.Random, mail: Mail) -> Iterator[Fact]:
    reader = {"useragent": chance.choice(_READERS), "ip": "192.0.2.1"}
    machine = {"useragent": _MACHINE, "ip": "203.0.113.9", "sg_machine_open": True}
    by_machine, by_person = chance.random() < OPENED_BY_MACHINE, chance.random() < OPENED
    clicks = chance.random() < CLICKED_OF_OPENED
    if by_machine and mail.is_open_tracked:
        yield {"event": "open", "sg_content_type": "html", **machine}, 0.5
    if by_person and mail.is_open_tracked:
        yield {"event": "open", "sg_content_type": "html", "sg_machine_open": False, **reader}, 1.5
    if by_person and clicks and mail.is_click_tracked and (links := links_of(mail.html)):
        index = chance.randrange(len(links))
        yield (
            {"event": "click", "url": links[index], "url_offset": {"index": index, "type": "html"}, **reader},
            1.0,
        )
    draw = chance.random()
    if draw < COMPLAINED:
        yield {"event": "spamreport"}, 1.0
    elif draw < COMPLAINED + UNSUBSCRIBED:
        yield {"event": "unsubscribe" if mail.asm_group_id is None else "group_unsubscribe", **reader}, 1.0


def _common(mail: Mail) -> dict[str, Any]:
    """What all events of an email carry: our own arguments flattened at the top, and SendGrid's names above them."""
    accepted = mail.accepted
    common: dict[str, Any] = {
        **mail.custom_args,
        "email": accepted.address,
        "sg_message_id": f"{accepted.request_id}.recvd-5c9f7d8b6-sandbox-1-{int(accepted.accepted_at):X}-1.0",
        "smtp-id": f"<{accepted.request_id}@geopod-ismtpd-1>",
    }
    if mail.categories:
        common["category"] = list(mail.categories) if len(mail.categories) > 1 else mail.categories[0]
    if mail.asm_group_id is not None:
        common["asm_group_id"] = mail.asm_group_id
    return common


def _spoil(chance: random.Random, event: dict[str, Any], mail: Mail) -> None:
    """What real events lack: ids, now and then."""
    kind, draw = event["event"], chance.random()
    if kind not in _AT_DELIVERY:
        del event["smtp-id"]
    if kind in _UNSUBSCRIBES and draw < WITHOUT_EVENT_ID:
        del event["sg_event_id"]
    if kind == "bounce" and draw < WITHOUT_MESSAGE_ID:
        del event["sg_message_id"]


def _postings(
    config: SandboxConfig, chance: random.Random, event: dict[str, Any], happened_at: float
) -> Iterator[Due]:
    due_at, draw, again = happened_at, chance.random(), chance.random()
    if draw < config.disorder_rate:
        due_at += LATEST * config.pace
    yield Due(due_at, SENDGRID_ROUTE, orjson.dumps(event))
    if again < config.duplicate_rate:
        if again < config.duplicate_rate * OTHER_EVENT_ID and "sg_event_id" in event:
            event = event | {"sg_event_id": f"{event['sg_event_id']}-1"}
        yield Due(due_at + LATEST * config.pace * draw, SENDGRID_ROUTE, orjson.dumps(event))


def _token(accepted: Accepted) -> str:
    """20 characters that no other accepted message has."""
    text = f"{accepted.request_id}/{accepted.reference}/{accepted.address}"
    return base64.urlsafe_b64encode(hashlib.blake2b(text.encode(), digest_size=15).digest()).decode()
