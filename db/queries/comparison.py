"""Executions of a flow side by side."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import FlowExecution, SendmodeStats, Stats
from db.queries.pages import Page, page_of
from db.queries.stats import Counts, columns_of, numbers_of


@dataclass(frozen=True)
class Compared:
    """One execution and its counts; they are zeros before its snapshot."""

    execution: FlowExecution
    counts: Counts


def list_compared(session: Session, flow_id: int, *, after: int, limit: int) -> Page[Compared]:
    """Executions in the order in which they were made, without reasons."""
    query = select(FlowExecution).where(FlowExecution.flow_id == flow_id)
    page = page_of(session, query, FlowExecution.id, after=after, limit=limit)
    ids = [execution.id for execution in page.items]
    stats = {
        row.execution_id: row for row in session.scalars(select(Stats).where(Stats.execution_id.in_(ids)))
    }
    sms = {
        row.execution_id: row
        for row in session.scalars(select(SendmodeStats).where(SendmodeStats.execution_id.in_(ids)))
    }
    return Page(
        [Compared(each, _counts(stats.get(each.id), sms.get(each.id))) for each in page.items],
        page.next_cursor,
    )


def _counts(stats: Stats | None, sms: SendmodeStats | None) -> Counts:
    return Counts(
        numbers_of(stats) if stats else dict.fromkeys(columns_of(Stats), 0),
        numbers_of(sms) if sms else dict.fromkeys(columns_of(SendmodeStats), 0),
    )
