"""A raw webhook without those of its events that are about somebody who was erased. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

import orjson

from tasks.feedback.sources import Source
from tasks.providers.sendgrid_events import load_items

_NOTHING = b"[]"


@dataclass(frozen=True)
class RawWebhook:
    """What is kept of one POST."""

    body: bytes
    query: str


def quote(raw: RawWebhook, source: Source, position: int) -> str:
    """The text of one event of the webhook."""
    if source is Source.SENDGRID:
        try:
            return orjson.dumps(load_items(raw.body)[position]).decode()
        except (ValueError, RecursionError, IndexError):
            pass
    return f"{raw.query} {raw.body.decode('utf-8', 'replace')}".strip()


def without(source: Source, raw: RawWebhook, positions: Collection[int]) -> RawWebhook:
    """The webhook without the events at these positions, counted as `tasks.feedback.sources.parse` gives them.

    A report of Sendmode is one event, so nothing of it is left; neither is of what cannot be read as JSON.
    """
    if not positions:
        return raw
    if source is not Source.SENDGRID:
        return RawWebhook(b"", "")
    try:
        items = load_items(raw.body)
    except (ValueError, RecursionError):
        return RawWebhook(_NOTHING, "")
    kept = [item for position, item in enumerate(items) if position not in positions]
    return RawWebhook(orjson.dumps(kept), "")
