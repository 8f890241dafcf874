"""Addresses in answers: whole for those who may see them, and only enough to tell two apart for the others."""

from contextvars import ContextVar
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import PlainSerializer, WithJsonSchema

from db.segments.graph import without_contacts

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


def _said(text: str | None) -> str | None:
    return None if _are_hidden.get() else text


def _link(url: str | None) -> str | None:
    if url is None or not _are_hidden.get():
        return url
    parts = urlsplit(url)
    way, found, _ = parts.path.partition("/unsubscribe/")
    return f"{parts.scheme}://{parts.hostname or ''}{way}{found and '/unsubscribe/' + _DOTS}"


def _rule(document: dict[str, Any] | None) -> Any:
    return without_contacts(document) if _are_hidden.get() else document


def _or_null(schema: dict[str, Any], words: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [schema, {"type": "null"}], "description": words})


Contact = Annotated[
    str,
    PlainSerializer(_shown, return_type=str),
    WithJsonSchema({"type": "string", "description": "Masked without the ability contacts:read."}),
]
"""An email or a phone in an answer."""

Said = Annotated[
    str | None,
    PlainSerializer(_said, return_type=str | None),
    _or_null({"type": "string"}, "Null without the ability contacts:read."),
]
"""Words of others, who repeat addresses: a mail server that refuses one, somebody who asked to be left alone."""

Link = Annotated[
    str | None,
    PlainSerializer(_link, return_type=str | None),
    _or_null(
        {"type": "string"},
        "Without the ability contacts:read up to its path, since the rest may tell who somebody is.",
    ),
]
"""A link that somebody clicked."""

ShownRule = Annotated[
    dict[str, Any] | None,
    PlainSerializer(_rule, return_type=dict[str, Any] | None),
    _or_null(
        {"type": "object", "additionalProperties": True},
        "Addresses that it compares with are left out without the ability contacts:read.",
    ),
]
"""The rule of a list."""
