"""Who did what when."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.abilities import Ability, needs
from api.dependencies import DatabaseDep, OptionalId
from api.schemas.audit import AuditEntryOut
from api.schemas.base import MAX_ID, PageOut
from db.queries import audit

router = APIRouter(prefix="/api/audit", tags=["audit"])


@router.get("", dependencies=[needs(Ability.AUDIT_READ)])
def list_audit_entries(
    database: DatabaseDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    action: Annotated[Ability | None, Query()] = None,
    user_id: OptionalId = None,
) -> PageOut[AuditEntryOut]:
    """Everything that sends, exports, deletes, or touches suppressions, users and tokens; newest first.

    An entry is written before its request is carried out. `status` is null when it was cut off, or is going on.
    """
    with database.reading() as session:
        found = audit.list_entries(
            session, before=cursor, limit=limit, action=action.value if action else None, user_id=user_id
        )
    items = [AuditEntryOut.of(each) for each in found.items]
    return PageOut[AuditEntryOut](items=items, next_cursor=found.next_cursor)
