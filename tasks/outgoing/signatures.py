"""Signatures by the specification of Standard Webhooks, and the secrets behind them. Pure."""

import base64
import hmac
import secrets
from collections.abc import Mapping, Sequence

from cryptography.fernet import Fernet, InvalidToken

_PREFIX = "whsec_"
_BYTES = 32


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64: what the receiver verifies with."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def sign_headers(shared: Sequence[str], event_id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """The three headers; signed with each secret, so that a receiver may take its time to change."""
    content = f"{event_id}.{timestamp}.".encode() + body
    signatures = [
        base64.b64encode(
            hmac.digest(base64.b64decode(each.removeprefix(_PREFIX)), content, "sha256")
        ).decode()
        for each in shared
    ]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def lock_secret(key: bytes, secret: str) -> bytes:
    """As it is stored: whoever reads the database cannot sign."""
    return _fernet(key).encrypt(secret.encode())


def open_secret(keys: Sequence[bytes], locked: bytes) -> str | None:
    """With one of the installation's keys; None: with none of them."""
    for key in keys:
        try:
            return _fernet(key).decrypt(locked).decode()
        except InvalidToken:
            continue
    return None


def _fernet(key: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hmac.digest(key, b"secrets of webhook endpoints", "sha256")))
