"""Which message of ours an event is about."""

from collections.abc import Sequence

from db.engine import Session
from db.queries.feedback import (
    find_by_provider_ids,
    find_clients_by_phone,
    find_latest_sms,
    find_messages,
)
from tasks.feedback.incoming import Incoming
from tasks.feedback.unsubscribe_links import Reference, parse_reference
from tasks.providers.events import EventKind

_TALK = (EventKind.REPLY, EventKind.OPT_OUT, EventKind.OPT_IN)


def match(session: Session, events: Sequence[Incoming]) -> None:
    """Give each event its message and client, where there are any.

    Our reference tells; without one SendGrid's X-Message-Id and the address, and of an answer to an SMS its phone.
    """
    references = {id(each): reference for each in events if (reference := reference_of(each))}
    known = find_messages(session, [(ref.uid, ref.message_id) for ref in references.values()])
    for each in events:
        reference = references.get(id(each))
        each.message = known.get(reference.message_id) if reference else None
    lost = [each for each in events if each.message is None and id(each) not in references]
    _by_provider_ids(session, [each for each in lost if each.event.provider == "sendgrid"])
    _by_phone(session, [each for each in lost if each.event.kind in _TALK])
    for each in events:
        if each.message is not None:
            each.client_id = each.message.client_id


def reference_of(each: Incoming) -> Reference | None:
    """What the event says of our message; None where it says nothing that could be ours."""
    return parse_reference(each.event.reference) if each.event.reference else None


def _by_provider_ids(session: Session, lost: Sequence[Incoming]) -> None:
    keys = {id(each): key for each in lost if (key := _provider_key(each))}
    found = find_by_provider_ids(session, set(keys.values()))
    for each in lost:
        key = keys.get(id(each))
        each.message = found.get(key) if key else None


def _provider_key(each: Incoming) -> tuple[str, str] | None:
    """`sg_message_id` begins with the X-Message-Id of the request in most events."""
    event = each.event
    if not event.provider_message_id or not event.address:
        return None
    return event.provider_message_id.partition(".")[0], event.address


def _by_phone(session: Session, lost: Sequence[Incoming]) -> None:
    phones = {each.event.address for each in lost if each.event.address}
    latest, owners = find_latest_sms(session, phones), find_clients_by_phone(session, phones)
    for each in lost:
        each.message = latest.get(each.event.address or "")
        each.client_id = owners.get(each.event.address or "")
