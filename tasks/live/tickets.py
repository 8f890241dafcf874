"""Tickets: browsers cannot send a header with an EventSource or a WebSocket, and a token in a URL would end up in logs. Pure.

A ticket is good for one execution and for a minute, and names the token it was made with.
"""

from dataclasses import dataclass

from tasks.signing import is_signed, sign

LIFETIME_SECONDS = 60
_PURPOSE = "live"


@dataclass(frozen=True)
class Ticket:
    """Who may listen to which execution until when, in seconds since 1970."""

    execution_id: int
    token_id: int
    expires_at: int


def write_ticket(key: bytes, ticket: Ticket) -> str:
    text = f"{ticket.execution_id}-{ticket.token_id}-{ticket.expires_at}"
    return f"{text}.{sign(key, _PURPOSE, text)}"


def read_ticket(key: bytes, text: str, *, now: float) -> Ticket | None:
    """None for one that is not ours or whose time is over."""
    facts, _, signature = text.rpartition(".")
    numbers = facts.split("-")
    if len(numbers) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in numbers):
        return None
    if not is_signed([key], _PURPOSE, facts, signature):
        return None
    ticket = Ticket(*map(int, numbers))
    return ticket if now <= ticket.expires_at else None
