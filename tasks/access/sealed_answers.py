"""Answers that are kept for whoever sends the same request again: readable only with the key that came with it. Pure."""

import base64
import hashlib
import hmac

import orjson
from cryptography.fernet import Fernet, InvalidToken


def hash_of(key: str) -> str:
    """What is stored of an `Idempotency-Key`."""
    return hashlib.sha256(key.encode()).hexdigest()


def seal_answer(secret: bytes, key: str, headers: dict[str, str], body: bytes) -> bytes:
    """Answers hold personal data, and are no place to look for them after an erasure."""
    text = orjson.dumps({"headers": headers, "body": base64.b64encode(body).decode()})
    return _lock(secret, key).encrypt(text)


def open_answer(secret: bytes, key: str, sealed: bytes) -> tuple[dict[str, str], bytes] | None:
    """None: it was sealed with another secret of the installation."""
    try:
        found = orjson.loads(_lock(secret, key).decrypt(sealed))
    except InvalidToken:
        return None
    return found["headers"], base64.b64decode(found["body"])


def _lock(secret: bytes, key: str) -> Fernet:
    derived = hmac.digest(secret, f"idempotency\n{key}".encode(), "sha256")
    return Fernet(base64.urlsafe_b64encode(derived))
