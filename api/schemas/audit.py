"""Entries of the audit log."""

from datetime import datetime
from typing import Any, Self

from api.schemas.base import Output
from db.queries.audit import Audited


class AuditEntryOut(Output):
    """`action` is the ability that was used, `subject` what it was used on, `details` what was known only afterwards."""

    id: int
    at: datetime
    who: str
    user_id: int | None
    token_id: int | None
    action: str
    route: str | None
    subject: dict[str, Any]
    address: str | None
    request_id: str | None
    status: int | None
    details: dict[str, Any] | None

    @classmethod
    def of(cls, audited: Audited) -> Self:
        entry, outcome = audited
        return cls(
            id=entry.id,
            at=entry.at,
            who=entry.who,
            user_id=entry.user_id,
            token_id=entry.token_id,
            action=entry.action,
            route=entry.route,
            subject=entry.subject,
            address=entry.address,
            request_id=entry.request_id,
            status=outcome.status if outcome else None,
            details=outcome.details if outcome else None,
        )
