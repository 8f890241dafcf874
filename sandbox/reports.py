"""What becomes of an accepted SMS, as Sendmode reports it: delivery reports, replies and opt-outs. Seeded, and pure.

Source: Sendmode's published documents of delivery receipts and of inbound SMS.
"""

import hashlib
import random
from collections.abc import Iterator

import orjson

from sandbox.config import SandboxConfig
from sandbox.events import LATEST, chance_of
from sandbox.journal import Accepted
from sandbox.parcels import DELIVERY_ROUTE, REPLY_ROUTE, Due

FATES = {
    "DELIVRD": 0.955,
    "UNDELIV": 0.018,
    "EXPIRED": 0.01,
    "REJECTD": 0.01,
    "FAILED": 0.005,
    "OPTED OUT - BLOCKED": 0.002,
}
STOPPED = 0.006
REPLIED = 0.014
SHORT_CODE = "50123"
_REPLIES = ("Thanks!", "Who is this?", "What are your opening hours?", "bus stop at 5?")
_STOPS = ("STOP", "Stop", " unsubscribe ", "OPT OUT")


def sms_events(config: SandboxConfig, accepted: Accepted, sender: str) -> Iterator[Due]:
    """The reports of one SMS, each with the moment it is posted, and now and then what its recipient writes back.

    Nobody can reply to an alphanumeric `sender`: who wants no more writes STOP to the operator's short code.
    """
    chance = chance_of(config.seed, accepted)
    [status] = chance.choices(tuple(FATES), tuple(FATES.values()))
    happened_at = accepted.accepted_at
    for station, wait in (("DISPATCHED", 0.2), (status, 0.5 + chance.random())):
        happened_at += wait * config.pace
        yield from _postings(config, chance, _report(accepted, station), happened_at)
    words = _words_back(chance, is_number(sender)) if status == "DELIVRD" else None
    if words is not None:
        reply = {
            "mobilenumber": accepted.address.removeprefix("+"),
            "command": words,
            "sentto": sender.removeprefix("+") if is_number(sender) else SHORT_CODE,
        }
        yield Due(happened_at + 2 * config.pace, REPLY_ROUTE, orjson.dumps(reply))


def is_number(sender: str) -> bool:
    return sender.removeprefix("+").isdigit()


def _report(accepted: Accepted, status: str) -> bytes:
    event_id = int.from_bytes(
        hashlib.blake2b(f"{accepted.request_id}/{status}".encode(), digest_size=6).digest()
    )
    return orjson.dumps(
        {
            "EventID": str(event_id),
            "Phonenumber": accepted.address.removeprefix("+"),
            "DataType": "DELIVERY",
            "Status": status,
            "CustomerID": accepted.reference,
        }
    )


def _words_back(chance: random.Random, is_answerable: bool) -> str | None:
    draw = chance.random()
    if draw < STOPPED:
        return chance.choice(_STOPS)
    return chance.choice(_REPLIES) if is_answerable and draw < STOPPED + REPLIED else None


def _postings(
    config: SandboxConfig, chance: random.Random, report: bytes, happened_at: float
) -> Iterator[Due]:
    due_at, draw, again = happened_at, chance.random(), chance.random()
    if draw < config.disorder_rate:
        due_at += LATEST * config.pace
    yield Due(due_at, DELIVERY_ROUTE, report)
    if again < config.duplicate_rate:
        yield Due(due_at + LATEST * config.pace * draw, DELIVERY_ROUTE, report)
