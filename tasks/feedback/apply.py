"""Applies a stored webhook to events, ledger, stats and suppressions, in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import structlog
from sqlalchemy.orm import Session

from db.engine import Database
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
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, Feedback, SuppressionReason
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


def apply_delivery(database: Database, delivery_id: int) -> bool:
    """Apply one webhook of the inbox. Returns False when it was applied already or somebody is at it.

    Never raises for what is in the webhook: it is kept with the reason, and tried again by the scheduled flow.
    """
    try:
        return database.run(lambda session: _apply_claimed(session, delivery_id))
    except Exception as error:
        log.exception("webhook not applied", delivery_id=delivery_id)
        reason = f"{type(error).__name__} while applying"
        database.run(lambda session: webhooks.mark_failed(session, delivery_id, reason))
        return False


def apply_waiting(database: Database, *, limit: int = 500) -> int:
    """Apply what was received but not applied, oldest first; returns how many webhooks that were."""
    with database.reading() as session:
        waiting = webhooks.list_unapplied(session, limit=limit)
    return sum(apply_delivery(database, delivery_id) for delivery_id in waiting)


def unsubscribe_message(
    database: Database, reference: Reference, *, reason: SuppressionReason, source: str
) -> None:
    """Suppress the address a message went to, everywhere, from now on.

    Raises:
        NotFound: the message does not exist (any more).
    """

    def work(session: Session) -> None:
        found = find_messages(session, [(reference.uid, reference.message_id)])
        message = found.get(reference.message_id)
        if message is None or message.address is None:
            raise NotFound("message", reference)
        change = SuppressionChange(message.channel, message.address, reason, datetime.now(UTC), source)
        apply_suppressions(session, [change])
        apply_feedback(session, {message.id: Feedback.UNSUBSCRIBED})

    database.run(work)


def _apply_claimed(session: Session, delivery_id: int) -> bool:
    delivery = webhooks.claim_delivery(session, delivery_id)
    if delivery is None:
        return False
    parsed = parse(
        Source(delivery.source), delivery.body, delivery.content_type, delivery.query, delivery.received_at
    )
    events = [event for event in parsed if isinstance(event, ProviderEvent)]
    messages = _messages_of(session, events)
    # The gate of suppressions comes before any message is locked, as it does for those who send.
    apply_suppressions(session, _suppressions(events, messages))
    insert_events(session, delivery_id, _rows(parsed, messages, delivery))
    touched = apply_feedback(session, _bits(events, messages))
    webhooks.mark_applied(session, delivery_id)
    for execution_id in list_settling(session, among=touched):
        settle_execution(session, execution_id)
    return True


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
    events: Sequence[ProviderEvent], messages: Mapping[int, KnownMessage]
) -> list[SuppressionChange]:
    changes = []
    for position, event in enumerate(events):
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


def _rows(
    parsed: Iterable[ProviderEvent | BadEvent],
    messages: Mapping[int, KnownMessage],
    delivery: WebhookDelivery,
) -> list[EventRow]:
    rows, position = [], 0
    for event in parsed:
        if isinstance(event, BadEvent):
            rows.append(_bad_row(event, delivery))
            continue
        message = messages.get(position)
        rows.append(_row(event, message))
        position += 1
    return rows


def _row(event: ProviderEvent, message: KnownMessage | None) -> EventRow:
    return EventRow(
        fingerprint=fingerprint(event),
        provider_event_id=event.provider_event_id[:100] if event.provider_event_id else None,
        provider=event.provider,
        kind=event.kind.value,
        message_id=message.id if message else None,
        address=event.address[:254] if event.address else None,
        occurred_at=event.occurred_at,
        url=event.url,
        classification=event.classification[:100] if event.classification else None,
        reason=event.reason[:2000] if event.reason else None,
        raw=event.raw,
    )


def _bad_row(event: BadEvent, delivery: WebhookDelivery) -> EventRow:
    """An event nobody can read is kept as it is: it holds up nothing, and is there when somebody asks."""
    return EventRow(
        fingerprint=fingerprint_bad(event),
        provider_event_id=None,
        provider=delivery.source.split("_")[0],
        kind="unreadable",
        message_id=None,
        address=None,
        occurred_at=delivery.received_at,
        url=None,
        classification=None,
        reason=event.reason[:2000],
        raw={"unreadable": event.raw},
    )
