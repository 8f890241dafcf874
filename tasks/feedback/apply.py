"""Applies a stored webhook to events, ledger, stats and suppressions, in one transaction."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from db.engine import Database, Session
from db.errors import NotFound
from db.models import WebhookDelivery
from db.queries import webhooks
from db.queries.executions import list_settling, settle_execution
from db.queries.feedback import (
    EventRow,
    KnownMessage,
    apply_feedback,
    find_latest_sms,
    find_messages,
    insert_events,
)
from db.queries.suppressions import SuppressionChange, apply_suppressions, find_suppression, hold_gate
from db.states import Channel, Feedback, InboxState, SuppressionReason
from tasks.feedback.erased import Parsed, find_erased, redact
from tasks.feedback.meaning import SUPPRESSIONS, bits_of
from tasks.feedback.sources import Source, parse
from tasks.feedback.unsubscribe_links import Reference, parse_reference
from tasks.providers.events import (
    BadEvent,
    EventKind,
    ProviderEvent,
    fingerprint,
    fingerprint_bad,
)

log = structlog.get_logger()
OURSELVES = "ics"
DELIVERIES_AT_A_TIME = 100


def apply_waiting(database: Database, *, state: InboxState = InboxState.RECEIVED, most: int = 100_000) -> int:
    """Apply webhooks of the inbox in this state, oldest first, until none is left; returns how many were applied.

    Never raises for what is in a webhook: one that cannot be applied is kept with the reason, and holds up no other.
    """
    applied = 0
    while applied < most:
        with database.reading() as session:
            waiting = webhooks.list_unapplied(session, state, limit=DELIVERIES_AT_A_TIME)
        if not waiting:
            break
        done = apply_deliveries(database, waiting)
        applied += done
        if state is InboxState.FAILED or not done:
            break
    return applied


def apply_deliveries(database: Database, delivery_ids: Sequence[int]) -> int:
    """Apply webhooks in one transaction; if that fails, one by one, to find out which cannot be applied."""
    try:
        return database.run(lambda session: _apply_claimed(session, delivery_ids))
    except Exception as error:
        if len(delivery_ids) == 1:
            log.exception("webhook not applied", delivery_id=delivery_ids[0])
            reason = f"{type(error).__name__} while applying"
            database.run(lambda session: webhooks.mark_failed(session, delivery_ids[0], reason))
            return 0
    return sum(apply_deliveries(database, [delivery_id]) for delivery_id in delivery_ids)


def unsubscribe_message(
    database: Database, reference: Reference, *, reason: SuppressionReason, source: str
) -> None:
    """Suppress the address a message went to, everywhere, from now on.

    Raises:
        NotFound: the message does not exist (any more).
    """

    def work(session: Session) -> None:
        hold_gate(session, alone=True)  # Behind it nobody is erased meanwhile.
        found = find_messages(session, [(reference.uid, reference.message_id)])
        message = found.get(reference.message_id)
        if message is None:
            raise NotFound("message", reference)
        if message.address is not None:  # Who was erased is suppressed already.
            change = SuppressionChange(message.channel, message.address, reason, datetime.now(UTC), source)
            stored = find_suppression(session, change)
            is_news = stored is None or not stored.active
            apply_suppressions(session, [replace(change, is_said=is_news)])
            insert_events(session, [_own_row(reference, message, source)])
        apply_feedback(session, {message.id: Feedback.UNSUBSCRIBED})

    database.run(work)


def _apply_claimed(session: Session, delivery_ids: Sequence[int]) -> int:
    deliveries = webhooks.claim_deliveries(session, delivery_ids)
    parsed = [(delivery, event) for delivery in deliveries for event in _events_of(delivery)]
    events = [event for _, event in parsed if isinstance(event, ProviderEvent)]
    # The gate comes before any message is locked, as it does for those who send; behind it nobody is erased meanwhile.
    hold_gate(session, alone=any(event.kind in SUPPRESSIONS for event in events))
    messages = _messages_of(session, events)
    erased = find_erased(session, parsed, messages)
    apply_suppressions(session, _suppressions(parsed, messages, erased))
    insert_events(session, _rows(parsed, messages, erased))
    redact(session, parsed, erased)
    touched = apply_feedback(session, _bits(events, messages))
    webhooks.mark_applied(session, [delivery.id for delivery in deliveries])
    for execution_id in list_settling(session, among=touched):
        settle_execution(session, execution_id)
    return len(deliveries)


def _events_of(delivery: WebhookDelivery) -> Sequence[ProviderEvent | BadEvent]:
    source = Source(delivery.source)
    return parse(source, delivery.body, delivery.content_type, delivery.query, delivery.received_at)


def _messages_of(session: Session, events: Sequence[ProviderEvent]) -> dict[int, KnownMessage]:
    """The message each event is about, by the event's position."""
    references = {
        position: reference
        for position, event in enumerate(events)
        if event.reference and (reference := parse_reference(event.reference))
    }
    known = find_messages(session, [(ref.uid, ref.message_id) for ref in references.values()])
    found = {
        position: known[ref.message_id] for position, ref in references.items() if ref.message_id in known
    }
    for position, event in enumerate(events):
        if position not in found and event.provider == "sendmode" and event.address:
            latest = find_latest_sms(session, event.address)
            if latest is not None and event.kind in (EventKind.REPLY, EventKind.OPT_OUT, EventKind.OPT_IN):
                found[position] = latest
    return found


def _bits(events: Sequence[ProviderEvent], messages: Mapping[int, KnownMessage]) -> dict[int, Feedback]:
    bits: dict[int, Feedback] = {}
    for position, message in messages.items():
        new = bits_of(events[position].kind)
        bits[message.id] = bits.get(message.id, Feedback(0)) | new
    return bits


def _suppressions(
    parsed: Parsed, messages: Mapping[int, KnownMessage], erased: Collection[int]
) -> list[SuppressionChange]:
    changes = []
    readable = [(place, event) for place, (_, event) in enumerate(parsed) if isinstance(event, ProviderEvent)]
    for position, (place, event) in enumerate(readable):
        if place in erased:
            continue
        wish = SUPPRESSIONS.get(event.kind)
        message = messages.get(position)
        address = message.address if message else event.address
        if wish is None or not address:
            continue
        channel = Channel.SMS if event.provider == "sendmode" else Channel.EMAIL
        changes.append(
            SuppressionChange(
                channel=channel,
                address=address,
                reason=wish.reason,
                effective_at=event.occurred_at,
                source=f"{event.provider} {event.kind}",
                active=wish.active,
                evidence=event.reason or event.classification,
            )
        )
    return changes


def _rows(parsed: Parsed, messages: Mapping[int, KnownMessage], erased: Collection[int]) -> list[EventRow]:
    """Rows to store; `messages` counts only the readable events. Of people who were erased only what is about a message of
    ours is stored, without what names them."""
    rows: list[EventRow] = []
    readable = -1
    for position, (delivery, event) in enumerate(parsed):
        if isinstance(event, BadEvent):
            if position not in erased:
                rows.append(_bad_row(event, delivery))
            continue
        readable += 1
        row = _row(event, messages.get(readable), delivery)
        if position not in erased:
            rows.append(row)
        elif row.message_id is not None:
            rows.append(replace(row, address=None, url=None, reason=None, raw={}))
    return rows


def _row(event: ProviderEvent, message: KnownMessage | None, delivery: WebhookDelivery) -> EventRow:
    return EventRow(
        delivery_id=delivery.id,
        fingerprint=fingerprint(event),
        provider_event_id=event.provider_event_id[:100] if event.provider_event_id else None,
        provider=event.provider,
        kind=event.kind.value,
        message_id=message.id if message else None,
        client_id=message.client_id if message else None,
        address=event.address[:254] if event.address else None,
        occurred_at=event.occurred_at,
        url=event.url,
        classification=event.classification[:100] if event.classification else None,
        reason=event.reason[:2000] if event.reason else None,
        raw=event.raw,
    )


def _own_row(reference: Reference, message: KnownMessage, source: str) -> EventRow:
    """What a client told us directly, by a link of ours. Once a message: following the link again is no news."""
    return EventRow(
        delivery_id=None,
        fingerprint=hashlib.sha256(f"{source} {reference.uid}-{reference.message_id}".encode()).digest(),
        provider_event_id=None,
        provider=OURSELVES,
        kind=EventKind.UNSUBSCRIBE.value,
        message_id=message.id,
        client_id=message.client_id,
        address=message.address,
        occurred_at=datetime.now(UTC),
        url=None,
        classification=None,
        reason=source,
        raw={},
    )


def _bad_row(event: BadEvent, delivery: WebhookDelivery) -> EventRow:
    """An event nobody can read is kept as it is: it holds up nothing, and is there when somebody asks."""
    return EventRow(
        delivery_id=delivery.id,
        fingerprint=fingerprint_bad(event),
        provider_event_id=None,
        provider=delivery.source.split("_")[0],
        kind="unreadable",
        message_id=None,
        client_id=None,
        address=None,
        occurred_at=delivery.received_at,
        url=None,
        classification=None,
        reason=event.reason[:2000],
        raw={"unreadable": event.raw},
    )
