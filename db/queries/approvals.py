"""Decisions that only people may take, kept with who and when."""

from typing import Any

from sqlalchemy.orm import Session

from db.models import Approval


def insert_approval(
    session: Session, action: str, *, approved_by: str, execution_id: int | None, details: dict[str, Any]
) -> Approval:
    approval = Approval(
        action=action, approved_by=approved_by[:100], execution_id=execution_id, details=details
    )
    session.add(approval)
    session.flush()
    return approval
