"""Addresses in answers: whole for those who may see them, and only enough to tell two apart for the others."""

from contextvars import ContextVar
from typing import Annotated

from pydantic import PlainSerializer, WithJsonSchema

_are_hidden: ContextVar[bool] = ContextVar("contacts_are_hidden", default=False)
_DOTS = "•••"


def hide_contacts() -> None:
    """In the answer to this request, show no address whole."""
    _are_hidden.set(True)


def masked(address: str) -> str:
    """`a•••@example.com`, `+353•••67`."""
    local, at, domain = address.rpartition("@")
    if at:
        return f"{local[:1]}{_DOTS}@{domain}"
    return f"{address[:4]}{_DOTS}{address[-2:]}" if len(address) > 8 else _DOTS


def _shown(address: str | None) -> str | None:
    return masked(address) if address is not None and _are_hidden.get() else address


Contact = Annotated[
    str,
    PlainSerializer(_shown, return_type=str),
    WithJsonSchema({"type": "string", "description": "Masked without the ability contacts:read."}),
]
"""An email or a phone in an answer."""
