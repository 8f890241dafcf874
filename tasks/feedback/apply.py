"""Applies stored webhooks to events, ledger, stats and suppressions.

What events say about addresses is committed first (`tasks/feedback/suppressing.py`), then everything else of them in one
transaction. Each event is counted once, whatever is applied again: whether it is news is decided while its message is held.
"""

import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from db.engine import Database, Session, is_outage
from db.models import WebhookDelivery
from db.queries import webhooks
from db.queries.events import (
    EventRow,
    delete_of_nobody,
    insert_events,
    list_holders,
    list_known,
    relabel_events,
)
from db.queries.executions import list_settling, settle_execution
from db.queries.feedback import (
    Held,
    KnownMessage,
    Moves,
    lock_messages,
    store_feedback,
)
from db.queries.outgoing import tell
from db.queries.stats import EVENT_BREAKDOWNS, EVENT_COUNTERS, minute_of, reason_key
from db.queries.suppressions import hold_gate
from db.queries.webhook_events import Unapplied, close_applied, has_open, insert_unapplied
from db.states import EventType, Feedback, InboxState, WebhookProblem
from tasks.feedback.engagement import Labels, label
from tasks.feedback.erased import mark_erased, redact
from tasks.feedback.guarding import guard, list_harmed
from tasks.feedback.incoming import Incoming, Parsed, parse_deliveries
from tasks.feedback.labels import CLICKS, OPENS
from tasks.feedback.matching import TALK, match_held, reference_of
from tasks.feedback.meaning import int_of
from tasks.feedback.suppressing import suppress, suppress_bounced
from tasks.feedback.unsubscribe_links import Reference
from tasks.providers.events import EventKind

log = structlog.get_logger()
OURSELVES = "ics"
DELIVERIES_AT_A_TIME = 100
BYTES_AT_A_TIME = 1024 * 1024
_BOUNCES = (EventKind.BOUNCE, EventKind.BLOCKED)
_CLICKED = int(Feedback.CLICKED | Feedback.MACHINE_CLICKED)
# Kinds that may be stored under another label, and the bits of all their labels.
_FAMILIES = dict.fromkeys(CLICKS, _CLICKED) | dict.fromkeys(
    OPENS, int(Feedback.OPENED | Feedback.MACHINE_OPENED)
)


def apply_waiting(database: Database, *, state: InboxState = InboxState.RECEIVED, most: int = 100_000) -> int:
    """Apply webhooks of the inbox in this state, oldest first, until none is left; returns how many were applied.

    Never raises for what is in a webhook: an event that cannot be applied is kept with the reason, and holds up no other.
    """
    applied = 0
    while applied < most:
        with database.reading() as session:
            waiting = webhooks.list_unapplied(
                session, state, limit=DELIVERIES_AT_A_TIME, most_bytes=BYTES_AT_A_TIME
            )
        if not waiting:
            break
        done = apply_deliveries(database, waiting)
        applied += done
        if state is InboxState.FAILED or not done:
            break
    return applied


def apply_deliveries(database: Database, delivery_ids: Sequence[int]) -> int:
    """Apply webhooks together; where that fails, piece by piece, to find out what cannot be applied. Returns how many are applied."""
    with database.reading() as session:
        deliveries = webhooks.list_deliveries(session, delivery_ids)
    try:
        parsed = parse_deliveries(deliveries)
        suppress(database, parsed)
        applied = database.run(partial(_apply, parsed=parsed, delivery_ids=[each.id for each in deliveries]))
        suppress_bounced(database, parsed)
        return applied
    except Exception as error:
        if is_outage(error):
            raise
        if len(delivery_ids) > 1:
            return sum(apply_deliveries(database, [delivery_id]) for delivery_id in delivery_ids)
    return apply_in_pieces(database, deliveries)


def apply_in_pieces(database: Database, deliveries: Sequence[WebhookDelivery]) -> int:
    """Apply what can be applied of these webhooks, and keep the rest; returns how many are dealt with."""
    ids = [each.id for each in deliveries]
    try:
        parsed = parse_deliveries(deliveries)
        # By themselves: they must not share the fate of an event.
        for part in (Parsed(unreadable=parsed.unreadable), Parsed(parsed.events)):
            if part.unreadable or part.events:
                apply_pieces(database, part)
    except Exception as error:
        if is_outage(error):
            raise
        log.exception("webhook not applied", delivery_ids=ids)
        reason = f"{type(error).__name__} while applying"
        for delivery_id in ids:
            database.run(partial(webhooks.mark_failed, delivery_id=delivery_id, error=reason))
        return 0
    database.run(lambda session: webhooks.mark_applied(session, ids))
    return len(ids)


def apply_pieces(database: Database, parsed: Parsed) -> None:
    """Apply what can be applied of these events, and keep each of the others with the reason."""
    try:
        suppress(database, parsed)
        database.run(partial(apply_parsed, parsed=parsed))
        suppress_bounced(database, parsed)
    except Exception as error:
        if is_outage(error):
            raise
        if len(parsed.events) > 1:
            middle = len(parsed.events) // 2
            apply_pieces(database, Parsed(parsed.events[:middle]))
            apply_pieces(database, Parsed(parsed.events[middle:]))
            return
        if not parsed.events:
            raise
        log.exception("event not applied", delivery_id=parsed.events[0].delivery.id)
        reason = f"{type(error).__name__} while applying"
        failed = _unapplied(parsed.events[0], WebhookProblem.FAILED, reason)
        database.run(lambda session: insert_unapplied(session, [failed]))


def record_unsubscribe(session: Session, reference: Reference, message: KnownMessage, source: str) -> None:
    """What a client told us directly, by a link of ours, as an event and in the counts. Once a message: following the link
    again is no news. The caller holds the gate."""
    held = lock_messages(session, [message.id])
    moves = Moves()
    if message.address is not None:
        row = _own_row(reference, message, source)
        if insert_events(session, [row]):
            moves.minutes[minute_of(row.occurred_at), row.kind] += 1
    after = {key: each.feedback | int(Feedback.UNSUBSCRIBED) for key, each in held.messages.items()}
    store_feedback(session, held, after, {message.execution_id: moves})


def _apply(session: Session, parsed: Parsed, delivery_ids: Sequence[int]) -> int:
    claimed = webhooks.claim_deliveries(session, delivery_ids)
    apply_parsed(session, parsed if len(claimed) == len(delivery_ids) else parsed.of(claimed))
    webhooks.mark_applied(session, claimed)
    return len(claimed)


def apply_parsed(session: Session, parsed: Parsed) -> None:
    """Events to the ledger, those without their message and what is no event to `webhook_events`. May be done again."""
    # The gate comes before any message is locked, as it does for those who send; behind it nobody is erased meanwhile.
    hold_gate(session, alone=False)
    held = match_held(session, parsed.events)
    mark_erased(session, parsed)
    unmatched = [each for each in parsed.events if _is_unmatched(each)]
    applicable = [each for each in parsed.events if not _is_unmatched(each)]
    new = _insert_new(session, _news(session, applicable, held), held)
    labels = new.labels
    after = _feedback_after(held, applicable, new.events, labels)
    touched = store_feedback(session, held, after, _moves(new.events, labels, held))
    guard(session, list_harmed(held, after))
    tell(session, EventType.MESSAGE_BOUNCED, lambda: _bounced(new.events))
    redact(session, parsed)
    _keep_unapplied(session, parsed, unmatched)
    if has_open(session):
        close_applied(session, [each.fingerprint for each in applicable])
    for execution_id in list_settling(session, among=touched):
        settle_execution(session, execution_id)


def _bounced(events: Sequence[Incoming]) -> list[dict[str, object]]:
    return [
        {
            "message_id": each.message.id,
            "execution_id": each.message.execution_id,
            "client_id": each.client_id,
            "kind": each.kind.value,
            "classification": each.event.classification,
            "at": each.event.occurred_at.isoformat(),
        }
        for each in events
        if each.kind in _BOUNCES and each.message is not None
    ]


class _Inserted:
    """Events that were not there before, and the labels they brought about."""

    def __init__(self, events: list[Incoming], labels: Labels) -> None:
        self.events = events
        self.labels = labels


def _is_unmatched(each: Incoming) -> bool:
    """It names a message of ours that is not there, yet."""
    return each.message is None and not each.is_erased and reference_of(each) is not None


def _news(session: Session, events: Sequence[Incoming], held: Held) -> list[Incoming]:
    """Those that are not stored, each fact once, oldest first.

    An event whose bit its message does not have yet must be news; only the others are looked up.
    """
    by_fingerprint: dict[bytes, Incoming] = {}
    for each in events:
        by_fingerprint.setdefault(each.fingerprint, each)
    doubtful = {key for key, each in by_fingerprint.items() if not _is_first(each, held)}
    known = list_known(session, doubtful)
    # It came before SendGrid's id of its batch was recorded; now it is known whose it is.
    found = [key for key, owner in known.items() if owner is None and _is_certain(by_fingerprint[key])]
    if found:
        delete_of_nobody(session, found)
    fresh = [each for key, each in by_fingerprint.items() if key not in known or key in found]
    return _without_copies(session, fresh, doubtful)


def _is_first(each: Incoming, held: Held) -> bool:
    # Whose an event without our reference is may be answered differently today: its message says nothing about it.
    if each.message is None or reference_of(each) is None:
        return False
    bits = _FAMILIES.get(each.event.kind) or int_of(each.event.kind)
    return bool(bits) and not held.messages[each.message.id].feedback & bits


def _is_certain(each: Incoming) -> bool:
    """Whether its message is the only one it can be about. What answers an SMS may be matched to a later one tomorrow."""
    return each.message is not None and each.event.kind not in TALK


def _without_copies(
    session: Session, news: Sequence[Incoming], doubtful: Collection[bytes]
) -> list[Incoming]:
    """Without those that have the provider's id of another event of the same kind about the same message.

    The id alone is not enough: were a bounce to come with the id of another event, it would be lost.
    """
    ids = [name for each in news if each.fingerprint in doubtful and (name := _event_id(each))]
    taken = {(name, message_id, _family(kind)) for name, message_id, kind in list_holders(session, ids)}
    kept = []
    for each in news:
        name = _event_id(each)
        key = (name or "", each.message.id if each.message else None, _family(each.event.kind))
        if name is None or key not in taken:
            kept.append(each)
            taken.add(key)
    return kept


def _family(kind: str) -> int | str:
    """The kind, whichever label it has."""
    return _FAMILIES.get(EventKind(kind), kind)


def _event_id(each: Incoming) -> str | None:
    name = each.event.provider_event_id
    return name[:100] if name else None


def _insert_new(session: Session, news: list[Incoming], held: Held) -> _Inserted:
    labels = label(session, news, held)
    rows = [row for each in news if (row := _row(each)) is not None]
    if insert_events(session, rows) < len(rows):
        news = _insert_clashing(session, news, rows)
    relabel_events(session, {key: kind.value for key, (_, kind) in labels.relabelled.items()})
    return _Inserted(news, labels)


def _insert_clashing(session: Session, news: list[Incoming], rows: Sequence[EventRow]) -> list[Incoming]:
    """Some came with the id of another event: they are stored without it. Returns those that are stored as what they are, which
    an event of nobody's that somebody else has stored meanwhile need not be."""
    known = list_known(session, [row.fingerprint for row in rows])
    insert_events(
        session, [row._replace(provider_event_id=None) for row in rows if row.fingerprint not in known]
    )
    known = list_known(session, [row.fingerprint for row in rows])
    return [
        each
        for each in news
        if each.fingerprint in known
        and known[each.fingerprint] == (each.message.id if each.message else None)
    ]


def _feedback_after(
    held: Held, events: Sequence[Incoming], new: Sequence[Incoming], labels: Labels
) -> dict[int, int]:
    """Bits of what carries our reference are added each time: they may mean more today than when it was stored. A copy without
    one may be matched to another message today, and labels of opens are those of the stored event."""
    after = {key: each.feedback for key, each in held.messages.items()}
    telling = [each for each in events if each.kind not in OPENS and reference_of(each) is not None]
    for each in [*telling, *new]:
        if each.message is not None and each.kind not in CLICKS:
            after[each.message.id] |= int_of(each.kind)
    for message_id, clicked in labels.clicked.items():
        after[message_id] = (after[message_id] & ~_CLICKED) | clicked
    return after


def _moves(new: Sequence[Incoming], labels: Labels, held: Held) -> dict[int, Moves]:
    """What the events add to the counts by execution."""
    moves: dict[int, Moves] = {}
    for each in new:
        if each.message is not None:
            _count(
                moves.setdefault(each.message.execution_id, Moves()),
                each.kind,
                each.event.occurred_at,
                each.event.classification,
                1,
            )
    for stored, kind in labels.relabelled.values():
        own = moves.setdefault(held.messages[stored.message_id].execution_id, Moves())
        _count(own, EventKind(stored.kind), stored.occurred_at, None, -1)
        _count(own, kind, stored.occurred_at, None, 1)
    return moves


def _count(
    moves: Moves, kind: EventKind, occurred_at: datetime, classification: str | None, number: int
) -> None:
    moves.minutes[minute_of(occurred_at), kind.value] += number
    if kind in EVENT_COUNTERS:
        moves.stats[EVENT_COUNTERS[kind]] += number
    if kind in EVENT_BREAKDOWNS:
        moves.stats[reason_key(EVENT_BREAKDOWNS[kind], classification or "")] += number


def _keep_unapplied(session: Session, parsed: Parsed, unmatched: Sequence[Incoming]) -> None:
    kept = [_unapplied(each, WebhookProblem.UNMATCHED, "its message is not known") for each in unmatched]
    kept += [
        Unapplied(
            each.fingerprint,
            each.delivery.id,
            each.delivery.source,
            None,
            WebhookProblem.UNREADABLE,
            each.event.reason,
            None,
            None,
        )
        for each in parsed.unreadable
        if not each.is_erased
    ]
    # A webhook may say the same nonsense a thousand times.
    insert_unapplied(session, {each.fingerprint: each for each in kept}.values())


def _unapplied(each: Incoming, problem: WebhookProblem, reason: str) -> Unapplied:
    return Unapplied(
        each.fingerprint,
        each.delivery.id,
        each.delivery.source,
        each.event.kind.value,
        problem,
        reason,
        each.event.reference,
        each.event.occurred_at,
    )


def _row(each: Incoming) -> EventRow | None:
    """As it is stored. Of people who were erased only what is about a message of ours, without what names them."""
    event, message = each.event, each.message
    if each.is_erased and message is None:
        return None
    row = EventRow(
        delivery_id=each.delivery.id,
        fingerprint=each.fingerprint,
        provider_event_id=_event_id(each),
        provider=event.provider,
        kind=each.kind.value,
        message_id=message.id if message else None,
        client_id=each.client_id,
        execution_id=message.execution_id if message else None,
        address=event.address[:254] if event.address else None,
        occurred_at=event.occurred_at,
        url=event.url,
        classification=event.classification,
        reason=event.reason[:2000] if event.reason else None,
        raw=event.raw,
    )
    return row._replace(address=None, url=None, reason=None, raw={}) if each.is_erased else row


def _own_row(reference: Reference, message: KnownMessage, source: str) -> EventRow:
    return EventRow(
        delivery_id=None,
        fingerprint=hashlib.sha256(f"{source} {reference.uid}-{reference.message_id}".encode()).digest(),
        provider_event_id=None,
        provider=OURSELVES,
        kind=EventKind.UNSUBSCRIBE.value,
        message_id=message.id,
        client_id=message.client_id,
        execution_id=message.execution_id,
        address=message.address,
        occurred_at=datetime.now(UTC),
        url=None,
        classification=None,
        reason=source,
        raw={},
    )
