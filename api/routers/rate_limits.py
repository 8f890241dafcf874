"""How fast may be sent: per provider, and per flow. A change holds for all workers within seconds, while they send."""

import re
from typing import Annotated

from fastapi import APIRouter, Path

from api.abilities import Ability, needs
from api.dependencies import DatabaseDep, PageDep
from api.errors import responses
from api.schemas.base import MAX_ID, PageOut
from api.schemas.rate_limits import RateLimitIn, RateLimitOut
from db.engine import Session
from db.models import RateLimit
from db.queries import flows, rate_limits

router = APIRouter(prefix="/api/rate-limits", tags=["operations"])
LimitName = Annotated[
    str,
    Path(
        pattern=r"^(sendgrid|sendmode|flow-[1-9][0-9]{0,18})$",
        description="A provider, or `flow-<id>`.",
        examples=["sendgrid", "flow-12"],
    ),
]


@router.get("", dependencies=[needs(Ability.LIMITS_READ)])
def list_rate_limits(database: DatabaseDep, page: PageDep) -> PageOut[RateLimitOut]:
    """All limits: those of the two providers, and of the flows that have one."""
    with database.reading() as session:
        found = rate_limits.list_rate_limits(session, after=page.cursor, limit=page.limit)
        return PageOut[RateLimitOut].of(found)


@router.put("/{name}", responses=responses(404), dependencies=[needs(Ability.LIMITS_WRITE)])
def set_rate_limit(database: DatabaseDep, name: LimitName, body: RateLimitIn) -> RateLimitOut:
    """Set a limit. Runs that are sending keep to it from their next request on, at most five seconds later."""

    def work(session: Session) -> RateLimit:
        _check_flow(session, name)
        return rate_limits.upsert_rate_limit(session, name, **body.model_dump())

    return RateLimitOut.model_validate(database.run(work))


@router.delete(
    "/{name}", status_code=204, responses=responses(404), dependencies=[needs(Ability.LIMITS_WRITE)]
)
def delete_rate_limit(database: DatabaseDep, name: LimitName) -> None:
    """Send as fast as it goes."""
    database.run(lambda s: rate_limits.delete_rate_limit(s, name))


def _check_flow(session: Session, name: str) -> None:
    """Raises NotFound for the limit of a flow that does not exist."""
    found = re.fullmatch(r"flow-([0-9]+)", name)
    if found:
        flows.get_flow(session, min(int(found.group(1)), MAX_ID))
