"""The installation's secret key, and what is signed with it."""

import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from settings import Settings


def secret_key(settings: Settings) -> bytes:
    """`ICS_SECRET_KEY`, or for an embedded installation a random key kept in `ICS_HOME/secret_key` (mode 0600)."""
    given = settings.secret_key.get_secret_value()
    if given:
        return given.encode()
    path = settings.home / "secret_key"
    if not path.exists():
        _create(path)
    return path.read_bytes()


def secret_keys(settings: Settings) -> tuple[bytes, ...]:
    """The key that signs now, and those of `ICS_OLD_SECRET_KEYS`, which signed before it: what they signed still holds."""
    return secret_key(settings), *(each.encode() for each in settings.retired_keys)


def sign(key: bytes, purpose: str, value: str, *, length: int = 16) -> str:
    """`length` bytes of HMAC-SHA256 in hex; the purpose keeps a signature of one kind from passing as another."""
    return hmac.digest(key, f"{purpose}\n{value}".encode(), "sha256")[:length].hex()


def is_signed(keys: Iterable[bytes], purpose: str, value: str, signature: str) -> bool:
    """Whether `signature` was made by `sign` with one of the keys, for the same purpose and value; takes the same time either way."""
    given = signature.encode("utf-8", "replace")
    # All of them, whichever fits: how long it takes tells nothing.
    return True in [hmac.compare_digest(sign(key, purpose, value).encode(), given) for key in keys]


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and linked into place: whoever comes second must never read a half-written key.
    draft = path.with_name(f"secret_key.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_hex(32))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
