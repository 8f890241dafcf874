"""What strangers send to the webhooks: forged, stale, oversized and malformed requests, as the bytes on the wire.

None of them may be taken. Everything is drawn from one generator, so a seed names a run.
"""

import base64
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api.app import WEBHOOK_BYTES
from sandbox.keys import sign_events, sign_report

SENDMODE_SECRET: Final = "the-secret-of-the-hostile-run"
_SENDGRID: Final = "/webhooks/sendgrid"
_SENDMODE: Final = ("/webhooks/sendmode/delivery", "/webhooks/sendmode/reply")
_CHUNK: Final = 65_536


class Attack(StrEnum):
    """Kinds of requests."""

    UNSIGNED = "unsigned"
    FORGED = "forged"
    ALTERED = "altered after signing"
    STALE = "stale"
    OVERSIZED = "oversized"
    CHUNKED = "oversized, chunked"
    CUT = "cut off"
    MALFORMED = "malformed"


@dataclass(frozen=True)
class Request:
    """The bytes of a request in pieces; `is_cut`: the sender closes without waiting for an answer."""

    attack: Attack
    pieces: tuple[bytes, ...]
    is_cut: bool = False


class Attacker:
    """Draws requests by a seed. It has the providers' keys too, since what is stale or altered was signed with them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._provider = ec.generate_private_key(ec.SECP256R1())
        self._own = ec.generate_private_key(ec.SECP256R1())
        self._makers: dict[Attack, Callable[[], Request]] = {
            Attack.UNSIGNED: self._unsigned,
            Attack.FORGED: self._forged,
            Attack.ALTERED: self._altered,
            Attack.STALE: self._stale,
            Attack.OVERSIZED: self._oversized,
            Attack.CHUNKED: self._chunked,
            Attack.CUT: self._cut,
            Attack.MALFORMED: self._malformed,
        }

    @property
    def public_key(self) -> str:
        """The one that the platform is told to trust."""
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        return base64.b64encode(
            self._provider.public_key().public_bytes(serialization.Encoding.DER, spki)
        ).decode()

    def requests(self, count: int) -> Iterator[Request]:
        """`count` requests of all kinds, mixed."""
        kinds = list(self._makers)
        for number in range(count):
            yield self._makers[kinds[number % len(kinds)]]()

    def good(self) -> Request:
        """One that has to be taken, to see that the others are not refused for another reason."""
        body, moment = b"[]", str(int(time.time()))
        return Request(Attack.UNSIGNED, (self._signed_post(self._provider, moment, body),))

    def _unsigned(self) -> Request:
        path = self._random.choice((_SENDGRID, *_SENDMODE))
        headers = self._random.choice(
            ({}, _sendgrid_headers("", str(int(time.time()))), _sendgrid_headers("AAAA", ""))
        )
        return Request(Attack.UNSIGNED, (_post(path, self._body(), headers),))

    def _forged(self) -> Request:
        moment, body = str(int(time.time())), self._body()
        choice = self._random.randrange(5)
        if choice == 0:
            return Request(Attack.FORGED, (self._signed_post(self._own, moment, body),))
        if choice == 1:
            noise = base64.b64encode(self._random.randbytes(self._random.randrange(200))).decode()
            return Request(Attack.FORGED, (_post(_SENDGRID, body, _sendgrid_headers(noise, moment)),))
        if choice == 2:
            odd = self._random.choice(("=", "\u00e9", "A" * 5000, "MEUCIQ==", "null"))
            return Request(Attack.FORGED, (_post(_SENDGRID, body, _sendgrid_headers(odd, moment)),))
        path = self._random.choice(_SENDMODE)
        if choice == 3:
            secret = quote(
                self._random.choice(("x", "%00", "\u00e9", SENDMODE_SECRET[:-1], SENDMODE_SECRET + "x"))
            )
            return Request(Attack.FORGED, (_post(f"{path}/{secret}", body, {}),))
        return Request(Attack.FORGED, (_post(path, body, _sendmode_headers("other", moment, body)),))

    def _altered(self) -> Request:
        moment, body = str(int(time.time())), self._body() + b" "
        place = self._random.randrange(len(body))
        changed = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        if self._random.random() < 0.5:
            return Request(Attack.ALTERED, (self._signed_post(self._provider, moment, body, sent=changed),))
        headers = _sendmode_headers(SENDMODE_SECRET, moment, body)
        return Request(Attack.ALTERED, (_post(self._random.choice(_SENDMODE), changed, headers),))

    def _stale(self) -> Request:
        now, body = int(time.time()), self._body()
        moment = self._random.choice(
            (str(now - 10**6), str(now + 10**4), "0", "-1", f"{now}.5", f"0x{now:x}", "9" * 40, "now")
        )
        if self._random.random() < 0.5:
            return Request(Attack.STALE, (self._signed_post(self._provider, moment, body),))
        headers = _sendmode_headers(SENDMODE_SECRET, moment, body)
        return Request(Attack.STALE, (_post(self._random.choice(_SENDMODE), body, headers),))

    def _oversized(self) -> Request:
        size = WEBHOOK_BYTES + self._random.randrange(1, 10**9)
        head = _head("POST", self._random.choice((_SENDGRID, *_SENDMODE)), {"Content-Length": str(size)})
        return Request(Attack.OVERSIZED, (head, b"x" * 1000))

    def _chunked(self) -> Request:
        head = _head("POST", self._random.choice((_SENDGRID, *_SENDMODE)), {"Transfer-Encoding": "chunked"})
        chunk = f"{_CHUNK:x}\r\n".encode() + b"[" * _CHUNK + b"\r\n"
        return Request(Attack.CHUNKED, (head, *[chunk] * (WEBHOOK_BYTES // _CHUNK + 2)))

    def _cut(self) -> Request:
        body = self._body() + b"x" * 2000
        moment = str(int(time.time()))
        whole = self._signed_post(self._provider, moment, body)
        return Request(Attack.CUT, (whole[: -self._random.randrange(1, 2000)],), is_cut=True)

    def _malformed(self) -> Request:
        line = f"POST {_SENDGRID} HTTP/1.1\r\nHost: x\r\n".encode()
        return Request(
            Attack.MALFORMED,
            (
                self._random.choice(
                    (
                        self._random.randbytes(200) + b"\r\n\r\n",
                        b"POST\r\n\r\n",
                        line + b"Content-Length: -5\r\n\r\n",
                        line + b"Content-Length: 1, 2\r\n\r\nxx",
                        line + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nxxxxxx",
                        line + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                        line + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                        line + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",
                        line + b"No colon\r\n\r\n",
                        line.replace(b"HTTP/1.1", b"HTTP/9.9") + b"\r\n",
                        line.replace(b"Host: x\r\n", b"") + b"\r\n",
                    )
                ),
            ),
        )

    def _body(self) -> bytes:
        """Events that would count, if they were believed."""
        number = self._random.randrange(1, 10**6)
        event = (
            f'{{"email":"victim{number}@example.com","event":"spamreport","timestamp":{int(time.time())},'
            f'"sg_event_id":"{number}","ics_message":"aaaaaaaaaaaa-{number}"}}'
        )
        return f"[{','.join([event] * self._random.randrange(1, 20))}]\r\n".encode()

    def _signed_post(
        self, key: ec.EllipticCurvePrivateKey, moment: str, body: bytes, *, sent: bytes | None = None
    ) -> bytes:
        headers = _sendgrid_headers(sign_events(key, moment, body), moment)
        return _post(_SENDGRID, body if sent is None else sent, headers)


def _sendgrid_headers(signature: str, moment: str) -> dict[str, str]:
    prefix = "X-Twilio-Email-Event-Webhook"
    return {f"{prefix}-Signature": signature, f"{prefix}-Timestamp": moment}


def _sendmode_headers(secret: str, moment: str, body: bytes) -> dict[str, str]:
    signature = sign_report(secret, moment, body)
    return {"X-Sendmode-Signature": signature, "X-Sendmode-Timestamp": moment}


def _post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    return _head("POST", path, {**headers, "Content-Length": str(len(body))}) + body


def _head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
