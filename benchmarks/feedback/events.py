"""What SendGrid says of a campaign: events of its messages, in signed POSTs of 1,000 as they come off the wire."""

import base64
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tasks.providers.sendgrid_events import SIGNATURE_HEADER, TIMESTAMP_HEADER
from tasks.providers.sendgrid_payload import MESSAGE_ARG

EVENTS_A_POST: Final = 1000
PER_MESSAGE: Final = 2.35
"""Events that a message has on average, see `_of_message`."""
_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36"


@dataclass(frozen=True)
class Post:
    """One POST of the webhook."""

    body: bytes
    headers: dict[str, str]
    events: int


class Signer:
    """Signs as SendGrid does; `public_key` is what it shows to be copied."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        spki = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public_key = base64.b64encode(spki).decode()

    def post(self, events: Sequence[dict[str, Any]]) -> Post:
        body = b"[" + b",\r\n".join(orjson.dumps(each) for each in events) + b"]\r\n"
        timestamp = str(int(time.time()))
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            SIGNATURE_HEADER: base64.b64encode(signature).decode(),
            TIMESTAMP_HEADER: timestamp,
            "Content-Type": "application/json",
        }
        return Post(body, headers, len(events))


def campaign_events(uid: str, messages: Sequence[tuple[int, str]], seed: int = 7) -> list[dict[str, Any]]:
    """Events of these (id, address), in the order in which they would be posted."""
    chance = random.Random(seed)
    start = int(time.time()) - 7200
    events = [
        event
        for place, (message_id, address) in enumerate(messages)
        for event in _of_message(chance, f"{uid}-{message_id}", address, start + place // 1000)
    ]
    return sorted(events, key=lambda each: (each["timestamp"], each["sg_event_id"]))


def posts(signer: Signer, events: Sequence[dict[str, Any]]) -> list[Post]:
    return [
        signer.post(events[first : first + EVENTS_A_POST]) for first in range(0, len(events), EVENTS_A_POST)
    ]


def _of_message(chance: random.Random, reference: str, address: str, at: int) -> Iterator[dict[str, Any]]:
    for number, (wait, fact) in enumerate(_fate(chance)):
        at += wait
        yield {
            "email": address,
            "timestamp": at,
            "smtp-id": f"<{reference}@geopod-ismtpd-5>",
            "category": ["newsletter", "bench"],
            MESSAGE_ARG: reference,
            "sg_event_id": base64.b64encode(f"{reference}-{number}-{at}".encode()).decode(),
            "sg_message_id": f"{reference}.recvd-5f54b5d587-pczjm-1-67BADEEA-6.0",
            **fact,
        }


def _fate(chance: random.Random) -> Iterator[tuple[int, dict[str, Any]]]:
    """One in fifty bounces, a quarter is opened, one in twenty clicked, a few complain or leave."""
    yield 0, {"event": "processed", "send_at": 0}
    if chance.random() < 0.02:
        soft = chance.random() < 0.5
        yield (
            2,
            {
                "event": "bounce",
                "type": "blocked" if soft else "bounce",
                "bounce_classification": "Mailbox Unavailable" if soft else "Invalid Address",
                "reason": "550 5.1.1 The email account that you tried to reach does not exist.",
                "status": "5.1.1",
                "ip": "198.51.100.7",
            },
        )
        return
    yield (
        2,
        {"event": "delivered", "response": "250 2.0.0 OK 1790000000 x-gsmtp", "ip": "198.51.100.7", "tls": 1},
    )
    if chance.random() < 0.06:
        yield 5, {"event": "open", "sg_machine_open": True, "useragent": "Mozilla/5.0", "ip": "203.0.113.9"}
    if chance.random() < 0.25:
        yield 600, {"event": "open", "sg_machine_open": False, "useragent": _AGENT, "ip": "192.0.2.1"}
        if chance.random() < 0.2:
            link = chance.randrange(5)
            yield (
                20,
                {
                    "event": "click",
                    "url": f"https://www.example.com/offers/{link}?utm_source=news",
                    "url_offset": {"index": link, "type": "html"},
                    "useragent": _AGENT,
                    "ip": "192.0.2.1",
                },
            )
    if chance.random() < 0.004:
        yield 60, {"event": chance.choice(["unsubscribe", "spamreport"])}
