"""Unsubscribe links: signed, so that nobody can unsubscribe others, and without an end, as mail has none.

A link carries the reference of the message it was sent in; the address is looked up in the ledger. RFC 8058 has the
mail client POST to it without a cookie or a login.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from db.errors import NotFound
from tasks.signing import is_signed, sign

_PURPOSE = "unsubscribe"


@dataclass(frozen=True)
class Reference:
    """A message as it is known outside: `<uid of the execution>-<id of the message>`."""

    uid: str
    message_id: int

    def __str__(self) -> str:
        return f"{self.uid}-{self.message_id}"


def parse_reference(text: str) -> Reference | None:
    """Read `<uid>-<id>`; None for anything else."""
    uid, dash, number = text.partition("-")
    if not dash or len(uid) != 12 or not number.isascii() or not number.isdigit() or len(number) > 18:
        return None
    return Reference(uid, int(number))


def unsubscribe_url(public_url: str, key: bytes, reference: str) -> str:
    return f"{public_url}/unsubscribe/{reference}.{sign(key, _PURPOSE, reference)}"


def read_token(keys: Sequence[bytes], token: str) -> Reference:
    """The reference of a link, signed with one of the keys.

    Raises:
        NotFound: the token is not one of ours.
    """
    text, _, signature = token.rpartition(".")
    reference = parse_reference(text)
    if reference is None or not is_signed(keys, _PURPOSE, text, signature):
        raise NotFound("unsubscribe link", "with this token")
    return reference
