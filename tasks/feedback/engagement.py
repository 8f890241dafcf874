"""Labels of opens and clicks, told from all events of their messages while these are held."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from db.engine import Session
from db.queries.events import StoredEvent, list_of_messages
from db.queries.feedback import Held
from db.states import Feedback
from settings import get_settings
from tasks.feedback.incoming import Incoming
from tasks.feedback.labels import CLICKS, Click, ScannerRule, is_scanner, label_clicks
from tasks.feedback.meaning import int_of
from tasks.providers.events import EventKind

_CLICKED = int(Feedback.CLICKED | Feedback.MACHINE_CLICKED)
_TELLING = (*CLICKS, EventKind.DELIVERED)

Key = tuple[str, int]
"""A click: ("stored", id of the event) or ("new", place among the new events)."""


@dataclass
class Labels:
    """What is different now: kinds of stored events by id, and the click bits of messages."""

    relabelled: dict[int, tuple[StoredEvent, EventKind]] = field(default_factory=dict)
    clicked: dict[int, int] = field(default_factory=dict)


def scanner_rule() -> ScannerRule:
    settings = get_settings()
    return ScannerRule(settings.scanner_links, timedelta(seconds=settings.scanner_seconds))


def label(session: Session, new: Sequence[Incoming], held: Held) -> Labels:
    """Label the new clicks in place; returns what else changes by them, and by new deliveries."""
    concerned = _concerned(new, held)
    if not concerned:
        return Labels()
    stored: dict[int, list[StoredEvent]] = {}
    for event in list_of_messages(session, concerned, _TELLING):
        stored.setdefault(event.message_id, []).append(event)
    fresh: dict[int, list[int]] = {}
    for place, each in enumerate(new):
        if each.message is not None and each.message.id in concerned and each.kind in _TELLING:
            fresh.setdefault(each.message.id, []).append(place)
    labels, rule = Labels(), scanner_rule()
    for message_id in concerned:
        _label_message(message_id, stored.get(message_id, []), fresh.get(message_id, []), new, rule, labels)
    return labels


def _concerned(new: Sequence[Incoming], held: Held) -> Collection[int]:
    """Messages that were clicked now, or that were clicked before and whose delivery is known only now."""
    found = set()
    for each in new:
        if each.message is None or each.kind not in _TELLING:
            continue
        if each.kind is not EventKind.DELIVERED or held.messages[each.message.id].feedback & _CLICKED:
            found.add(each.message.id)
    return found


def _label_message(
    message_id: int,
    stored: Sequence[StoredEvent],
    fresh: Sequence[int],
    new: Sequence[Incoming],
    rule: ScannerRule,
    labels: Labels,
) -> None:
    clicks: list[Click[Key]] = [
        Click(("stored", each.id), each.occurred_at, each.url, is_scanner(each.raw))
        for each in stored
        if each.kind in CLICKS and (each.raw or each.url)
    ]
    delivered: list[datetime] = [
        each.occurred_at for each in stored if each.kind == EventKind.DELIVERED.value
    ]
    for place in fresh:
        event = new[place].event
        if new[place].kind is EventKind.DELIVERED:
            delivered.append(event.occurred_at)
        else:
            clicks.append(Click(("new", place), event.occurred_at, event.url, is_scanner(event.raw)))
    kinds = label_clicks(clicks, delivered, rule)
    by_id = {each.id: each for each in stored}
    # Of somebody who was erased nothing is known any more that could tell: these keep their labels.
    bits = 0
    for each in stored:
        if each.kind in CLICKS and not (each.raw or each.url):
            bits |= int_of(EventKind(each.kind))
    for (origin, key), kind in kinds.items():
        bits |= int_of(kind)
        if origin == "new":
            new[key].kind = kind
        elif by_id[key].kind != kind.value:
            labels.relabelled[key] = (by_id[key], kind)
    labels.clicked[message_id] = bits
