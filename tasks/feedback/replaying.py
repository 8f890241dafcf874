"""Events that were not applied, tried again: by the scheduled flow as long as it makes sense, by a person at any time."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

import structlog

from db.engine import Database, Session, is_outage
from db.models import WebhookDelivery, WebhookEvent
from db.queries import webhook_events, webhooks
from db.states import WebhookEventState, WebhookProblem
from settings import get_settings
from tasks.feedback.apply import apply_in_pieces, apply_parsed
from tasks.feedback.incoming import Parsed, parse_deliveries
from tasks.feedback.sources import Source
from tasks.feedback.suppressing import suppress
from tasks.privacy.redaction import RawWebhook, quote

log = structlog.get_logger()
_AT_A_TIME = 500
_QUOTED_CHARACTERS = 4_000


def replay_due(database: Database, *, most: int = 5_000) -> int:
    """Try again the events whose message may still turn up, or that failed; returns how many are applied now."""
    window = timedelta(hours=get_settings().evidence_window_hours)
    applied = seen = after = 0
    while seen < most:
        with database.reading() as session:
            due = webhook_events.list_due(session, after=after, limit=_AT_A_TIME, younger_than=window)
        for event_id in due:
            applied += replay_event(database, event_id, by=None) is WebhookEventState.APPLIED
        if len(due) < _AT_A_TIME:
            break
        seen, after = seen + len(due), due[-1]
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
    states = Counter(replay_event(database, event.id, by=by) for event in page.items)
    return Replayed(
        states[WebhookEventState.APPLIED],
        states[WebhookEventState.OPEN],
        states[WebhookEventState.GONE],
        page.next_cursor,
    )


def replay_delivery(database: Database, delivery_id: int) -> None:
    """Apply a stored webhook once more, whatever became of it the first time. Events that are stored are not counted again.

    Raises:
        NotFound: there is no such webhook (any more).
    """
    with database.reading() as session:
        delivery = webhooks.get_delivery(session, delivery_id, with_body=True)
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


def replay_event(database: Database, event_id: int, *, by: str | None) -> WebhookEventState:
    """Read the event again from its webhook, with what is understood of it now, and apply it; returns what became of it.

    `by` is the token of who asked for it; None is the scheduled flow. Replaying one that is applied changes nothing.

    Raises:
        NotFound: there is no such event.
    """
    with database.reading() as session:
        event = webhook_events.get_webhook_event(session, event_id)
        delivery = session.get(WebhookDelivery, event.delivery_id)
    parsed = _find(delivery, event)
    if parsed is None:
        return _note(database, event_id, by, state=WebhookEventState.GONE)
    if not parsed.events:
        return _note(database, event_id, by)
    try:
        suppress(database, parsed)
        database.run(lambda session: apply_parsed(session, parsed))
    except Exception as error:
        if is_outage(error):
            raise
        log.exception("event not applied", webhook_event_id=event_id)
        reason = f"{type(error).__name__} while applying"
        return _note(database, event_id, by, problem=WebhookProblem.FAILED, reason=reason)
    return _note(database, event_id, by)


def _find(delivery: WebhookDelivery | None, event: WebhookEvent) -> Parsed | None:
    """The event where its webhook still has it: as what it is read today, which may be more than it was read as then."""
    if delivery is None:
        return None
    parsed = parse_deliveries([delivery])
    own = Parsed(
        [each for each in parsed.events if each.fingerprint == event.fingerprint],
        [each for each in parsed.unreadable if each.fingerprint == event.fingerprint],
    )
    return own if own.events or own.unreadable else None


def _note(
    database: Database,
    event_id: int,
    by: str | None,
    *,
    state: WebhookEventState | None = None,
    problem: WebhookProblem | None = None,
    reason: str | None = None,
) -> WebhookEventState:
    def work(session: Session) -> WebhookEventState:
        return webhook_events.note_replay(
            session, event_id, by=by, state=state, problem=problem, reason=reason
        )

    return database.run(work)
