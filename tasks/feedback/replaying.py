"""Events that were not applied, tried again: by the scheduled flow as long as it makes sense, by a person at any time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from db.engine import Database, Session
from db.models import WebhookDelivery, WebhookEvent
from db.queries import webhook_events, webhooks
from db.queries.approvals import insert_approval
from db.states import WebhookEventState, WebhookProblem
from settings import get_settings
from tasks.feedback.apply import apply_in_pieces, apply_pieces
from tasks.feedback.incoming import Parsed, parse_deliveries
from tasks.feedback.sources import Source
from tasks.privacy.redaction import RawWebhook, quote

REPLAY = "replay_webhook"
_AT_A_TIME = 1_000
_QUOTED_CHARACTERS = 4_000


def replay_due(database: Database, *, most: int = 5_000) -> int:
    """Try again the events whose message may still turn up, or that failed; returns how many are applied now."""
    window = timedelta(hours=get_settings().evidence_window_hours)
    applied = seen = after = 0
    while seen < most:
        with database.reading() as session:
            due = webhook_events.list_due(session, after=after, limit=_AT_A_TIME, younger_than=window)
        if not due:
            break
        applied += _replay(database, due, by=None).get(WebhookEventState.APPLIED, 0)
        seen, after = seen + len(due), due[-1].id
    return applied


@dataclass(frozen=True)
class Replayed:
    """What became of events that were tried again; `next_cursor` is the last one's id, None at the end."""

    applied: int
    open: int
    gone: int
    next_cursor: int | None


def replay_open(
    database: Database, *, by: str, after: int, limit: int, problem: WebhookProblem | None = None
) -> Replayed:
    """Try again up to `limit` open events behind `after`, however old they are."""
    with database.reading() as session:
        page = webhook_events.list_webhook_events(
            session, after=after, limit=limit, state=WebhookEventState.OPEN, problem=problem
        )
    states = _replay(database, page.items, by=by)
    return Replayed(
        states.get(WebhookEventState.APPLIED, 0),
        states.get(WebhookEventState.OPEN, 0),
        states.get(WebhookEventState.GONE, 0),
        page.next_cursor,
    )


def replay_delivery(database: Database, delivery_id: int, *, by: str) -> None:
    """Apply a stored webhook once more, whatever became of it the first time. Events that are stored are not counted again.

    Raises:
        NotFound: there is no such webhook (any more).
    """
    with database.reading() as session:
        delivery = webhooks.get_delivery(session, delivery_id, with_body=True)
    details = {"delivery_id": delivery_id}
    database.run(
        lambda session: insert_approval(session, REPLAY, approved_by=by, execution_id=None, details=details)
    )
    apply_in_pieces(database, [delivery])


def quote_event(database: Database, event: WebhookEvent) -> str | None:
    """What the provider wrote, shortened; None when it is not stored any more."""
    with database.reading() as session:
        delivery = session.get(WebhookDelivery, event.delivery_id)
    parsed = _find(delivery, event)
    if delivery is None or parsed is None:
        return None
    positions = [each.position for each in parsed.events] + [each.position for each in parsed.unreadable]
    text = quote(RawWebhook(delivery.body, delivery.query), Source(delivery.source), positions[0])
    return text[:_QUOTED_CHARACTERS]


def replay_event(database: Database, event_id: int, *, by: str) -> WebhookEventState:
    """Read the event again from its webhook, with what is understood of it now, and apply it; returns what became of it.

    `by` is the token of who asked for it. Replaying one that is applied changes nothing.

    Raises:
        NotFound: there is no such event.
    """
    with database.reading() as session:
        event = webhook_events.get_webhook_event(session, event_id)
    [state] = _replay(database, [event], by=by)
    return state


def _replay(
    database: Database, events: Sequence[WebhookEvent], *, by: str | None
) -> dict[WebhookEventState, int]:
    """Try them again, each webhook read once; returns how many of them are in which state now."""
    ids = [each.id for each in events]
    if by is not None:
        database.run(lambda session: webhook_events.note_replay(session, ids, by=by))
    # Events of a webhook are kept together, so that they come together.
    for delivery_id, some in groupby(events, key=lambda each: each.delivery_id):
        _replay_from(database, delivery_id, list(some))
    with database.reading() as session:
        return webhook_events.count_states(session, ids)


def _replay_from(database: Database, delivery_id: int, events: Sequence[WebhookEvent]) -> None:
    with database.reading() as session:
        delivery = session.get(WebhookDelivery, delivery_id)
    parsed = Parsed() if delivery is None else parse_deliveries([delivery])
    wanted = {each.fingerprint for each in events}
    found = wanted & (
        {each.fingerprint for each in parsed.events} | {each.fingerprint for each in parsed.unreadable}
    )
    lost = [each for each in events if each.fingerprint not in found]
    # What nobody could read then is known by its bytes; as an event it is another one, which only all of its webhook has.
    understood = [
        each.id
        for each in lost
        if each.problem is WebhookProblem.UNREADABLE and (parsed.events or parsed.unreadable)
    ]
    apply_pieces(
        database, Parsed(unreadable=[each for each in parsed.unreadable if each.fingerprint in found])
    )
    apply_pieces(
        database, Parsed([each for each in parsed.events if understood or each.fingerprint in found])
    )

    def close(session: Session) -> None:
        gone = [each.id for each in lost if each.id not in understood]
        webhook_events.close_events(session, understood, WebhookEventState.APPLIED)
        webhook_events.close_events(session, gone, WebhookEventState.GONE)

    if lost:
        database.run(close)


def _find(delivery: WebhookDelivery | None, event: WebhookEvent) -> Parsed | None:
    """The event where its webhook still has it as what it was read as then."""
    if delivery is None:
        return None
    parsed = parse_deliveries([delivery])
    own = Parsed(
        [each for each in parsed.events if each.fingerprint == event.fingerprint],
        [each for each in parsed.unreadable if each.fingerprint == event.fingerprint],
    )
    return own if own.events or own.unreadable else None
