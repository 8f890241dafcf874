"""Warns about executions, and pauses them, in the transaction that brings the complaint or the bounce."""

from collections.abc import Collection, Mapping
from functools import partial

import structlog

from db.engine import Session, when_committed
from db.queries.feedback import Held
from db.queries.guarding import list_guarded, pause_by_guard, warn_execution
from db.states import Feedback
from settings import Settings, get_settings
from tasks.feedback.guard import Limits, judge

log = structlog.get_logger()
_HARM = int(Feedback.COMPLAINED | Feedback.BOUNCED | Feedback.BLOCKED)


def list_harmed(held: Held, after: Mapping[int, int]) -> set[int]:
    """Executions with a new complaint or bounce: only theirs are the rates that can have become too high."""
    messages = held.messages
    return {each.execution_id for key, each in messages.items() if after[key] & ~each.feedback & _HARM}


def guard(session: Session, execution_ids: Collection[int]) -> None:
    """Judge these executions. The caller has moved their stats, so that nobody else judges them at the same time."""
    if not execution_ids:
        return
    limits = limits_from(get_settings())
    for each in list_guarded(session, execution_ids):
        verdict = judge(each.counts, limits)
        if verdict.warning is None:
            continue
        if verdict.is_pause and each.may_pause and pause_by_guard(session, each.id, verdict.warning):
            when_committed(session, partial(_tell, "execution paused by the guard", each.id, verdict.warning))
        elif not each.is_warned:
            warn_execution(session, each.id, verdict.warning)
            when_committed(session, partial(_tell, "execution warned about", each.id, verdict.warning))


def limits_from(settings: Settings) -> Limits:
    return Limits(
        messages=settings.guard_messages,
        complaint_warn=settings.complaint_warn_percent,
        complaint_pause=settings.complaint_pause_percent,
        bounce_pause=settings.bounce_pause_percent,
    )


def _tell(what: str, execution_id: int, warning: str) -> None:
    log.warning(what, execution_id=execution_id, warning=warning)
