"""Passwords: argon2id (RFC 9106), and which ones are too easy to guess."""

from threading import BoundedSemaphore
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from db.errors import Invalid

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 128
_EASY: Final = 3
"""zxcvbn's score below which a password is found in up to 10^8 guesses."""

_hasher = PasswordHasher()
# 64 MiB and four threads each: a crowd at the door must not take the machine.
_at_a_time = BoundedSemaphore(2)
# Somebody who does not exist takes as long as somebody who does.
_NOBODY: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$GUqjo9igx7TvM3EKIBQcWw$kM0HNmysNT49C4hcHyKHGTEQ1MII/0w6IV6X+A9Umcc"
)


def hash_password(password: str, *, hints: tuple[str, ...] = ()) -> str:
    """Raises Invalid: too short, too long, or too easy to guess (`hints` are what it must not be made of)."""
    _check(password, hints)
    with _at_a_time:
        return _hasher.hash(password)


def is_password(password_hash: str | None, password: str) -> bool:
    """Whether it is the password; takes as long when there is none."""
    try:
        with _at_a_time:
            _hasher.verify(password_hash or _NOBODY, password[:MAX_LENGTH])
    except (VerificationError, InvalidHashError):
        return False
    return bool(password_hash)


def is_outdated(password_hash: str) -> bool:
    """Whether it was hashed with weaker settings than those of today."""
    return _hasher.check_needs_rehash(password_hash)


def _check(password: str, hints: tuple[str, ...]) -> None:
    from zxcvbn import zxcvbn  # Large word lists, which only who sets a password needs.

    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise Invalid("password", f"use {MIN_LENGTH} to {MAX_LENGTH} characters")
    words = [part for hint in hints for part in (hint, *hint.replace("@", " ").split())]
    # It takes time that grows with the square of the length, and 72 characters tell as much.
    if zxcvbn(password[:72], user_inputs=words)["score"] < _EASY:
        raise Invalid("password", "is easy to guess: use several unrelated words")
