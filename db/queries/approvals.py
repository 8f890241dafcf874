"""Decisions that only people may take, kept with who and when."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Approval
from db.queries.pages import Page, page_of


def insert_approval(
    session: Session, action: str, *, approved_by: str, execution_id: int | None, details: dict[str, Any]
) -> Approval:
    approval = Approval(
        action=action, approved_by=approved_by[:100], execution_id=execution_id, details=details
    )
    session.add(approval)
    session.flush()
    return approval


def list_approvers(session: Session, action: str, execution_id: int) -> set[int]:
    """The users who approved this of an execution so far."""
    details = session.scalars(
        select(Approval.details).where(Approval.execution_id == execution_id, Approval.action == action)
    )
    return {each["user_id"] for each in details}


def list_approvals(session: Session, execution_id: int, *, after: int, limit: int) -> Page[Approval]:
    """What was approved about an execution, in the order in which it was."""
    query = select(Approval).where(Approval.execution_id == execution_id)
    return page_of(session, query, Approval.id, after=after, limit=limit)
