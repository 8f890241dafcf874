"""Events that were not applied, tried again: by the scheduled flow as long as it makes sense, by a person at any time."""

from datetime import timedelta

import structlog

from db.engine import Database, Session, is_outage
from db.models import WebhookDelivery, WebhookEvent
from db.queries import webhook_events
from db.states import WebhookEventState, WebhookProblem
from settings import get_settings
from tasks.feedback.apply import apply_parsed
from tasks.feedback.incoming import Parsed, parse_deliveries
from tasks.feedback.suppressing import suppress

log = structlog.get_logger()
_AT_A_TIME = 500


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
