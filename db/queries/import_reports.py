"""What an import left out, in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import ImportReject

MAX_REASONS = 500


@dataclass(frozen=True)
class ReasonCount:
    """How often something was left out of a column for one reason; `column` is "" where it was the whole row."""

    severity: str
    reason: str
    column: str
    count: int


def list_reason_counts(session: Session, import_id: int) -> Sequence[ReasonCount]:
    """Rejected rows and left-out cells by reason and column, the most frequent ones first."""
    count = func.count()
    rows = session.execute(
        select(ImportReject.severity, ImportReject.reason, ImportReject.column_name, count)
        .where(ImportReject.import_id == import_id)
        .group_by(ImportReject.severity, ImportReject.reason, ImportReject.column_name)
        .order_by(ImportReject.severity, count.desc(), ImportReject.reason, ImportReject.column_name)
        .limit(MAX_REASONS)
    )
    return [ReasonCount(*row) for row in rows]
