"""Which message of ours an event is about."""

from collections.abc import Mapping, Sequence

from db.engine import Session
from db.queries.feedback import (
    Held,
    find_by_provider_ids,
    find_clients_by_phone,
    find_latest_sms,
    find_messages,
    list_uids,
    lock_messages,
)
from tasks.feedback.incoming import Incoming
from tasks.feedback.unsubscribe_links import Reference, parse_reference
from tasks.providers.events import EventKind

TALK = (EventKind.REPLY, EventKind.OPT_OUT, EventKind.OPT_IN)
"""What people write to us. It answers an SMS, and need not name it."""


def match(session: Session, events: Sequence[Incoming]) -> None:
    """Give each event its message and client, where there are any.

    Our reference tells; without one SendGrid's X-Message-Id and the address, and of an answer to an SMS its phone.
    """
    references = _references(events)
    known = find_messages(session, [(ref.uid, ref.message_id) for ref in references.values()])
    for place, each in enumerate(events):
        each.message = known.get(references[place].message_id) if place in references else None
    _match_lost(session, events, references)


def match_held(session: Session, events: Sequence[Incoming]) -> Held:
    """As `match`, and hold the messages until the end of the transaction: what is known of them is what they are."""
    references = _references(events)
    for each in events:
        each.message = each.client_id = None
    _match_lost(session, events, references)
    wanted = {ref.message_id for ref in references.values()}
    held = lock_messages(session, wanted | {each.message.id for each in events if each.message is not None})
    uids = list_uids(session, {each.execution_id for each in held.messages.values()})
    for place, ref in references.items():
        found = held.messages.get(ref.message_id)
        if found is not None and uids[found.execution_id] == ref.uid:
            events[place].message = found
            events[place].client_id = found.client_id
    matched = {each.message.id for each in events if each.message is not None}
    # A message that only a reference of another installation names is none of the events' business.
    return Held({key: each for key, each in held.messages.items() if key in matched}, held.being_sent)


def reference_of(each: Incoming) -> Reference | None:
    """What the event says of our message; None where it says nothing that could be ours."""
    return parse_reference(each.event.reference) if each.event.reference else None


def _references(events: Sequence[Incoming]) -> dict[int, Reference]:
    """By the event's place."""
    return {place: ref for place, each in enumerate(events) if (ref := reference_of(each)) is not None}


def _match_lost(session: Session, events: Sequence[Incoming], references: Mapping[int, Reference]) -> None:
    """Those that lost our reference on their way, or never had one."""
    lost = [each for place, each in enumerate(events) if place not in references]
    _by_provider_ids(session, [each for each in lost if each.event.provider == "sendgrid"])
    _by_phone(session, [each for each in lost if each.event.kind in TALK])
    for each in events:
        if each.message is not None:
            each.client_id = each.message.client_id


def _by_provider_ids(session: Session, lost: Sequence[Incoming]) -> None:
    keys = {place: key for place, each in enumerate(lost) if (key := _provider_key(each))}
    found = find_by_provider_ids(session, set(keys.values()))
    for place, key in keys.items():
        lost[place].message = found.get(key)


def _provider_key(each: Incoming) -> tuple[str, str] | None:
    event = each.event
    return (event.request_id, event.address) if event.request_id and event.address else None


def _by_phone(session: Session, lost: Sequence[Incoming]) -> None:
    phones = {each.event.address for each in lost if each.event.address}
    latest, owners = find_latest_sms(session, phones), find_clients_by_phone(session, phones)
    for each in lost:
        each.message = latest.get(each.event.address or "")
        each.client_id = owners.get(each.event.address or "")
