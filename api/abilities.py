"""`needs`: how a route names the ability that it takes."""

from typing import Annotated, Any

from fastapi import Depends, Security
from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection

from api.auditing import begin_entry
from api.dependencies import DatabaseDep, authenticate
from api.errors import Forbidden
from api.schemas.contacts import hide_contacts
from api.throttling import spend_of_token
from db.engine import Database
from db.segments.graph import names_contacts
from tasks.access.abilities import Ability, is_audited
from tasks.access.callers import Caller

__all__ = ["Ability", "needs", "require", "require_audited", "require_for_rule"]


def needs(ability: Ability) -> Any:
    """The dependency of a route that only who has this ability may use; it stands in the OpenAPI description as its scope."""
    return Security(_authorise, scopes=[ability.value])


def require(caller: Caller, ability: Ability) -> None:
    """For what only the route can tell that it takes. Raises Forbidden."""
    if not caller.can(ability):
        raise Forbidden(ability)


def require_for_rule(caller: Caller, rule: Any) -> None:
    """Whoever chooses clients by their addresses has to be allowed to see them. Raises Forbidden."""
    if names_contacts(rule):
        require(caller, Ability.CONTACTS_READ)


async def require_audited(
    connection: HTTPConnection, database: Database, caller: Caller, ability: Ability
) -> None:
    """As `require`, for what is kept in the audit log: its entry is committed before anything is done."""
    require(caller, ability)
    await begin_entry(connection, database, caller, ability)


async def _authorise(
    connection: HTTPConnection,
    database: DatabaseDep,
    caller: Annotated[Caller, Depends(authenticate)],
    scopes: SecurityScopes,
) -> None:
    for name in scopes.scopes:
        require(caller, Ability(name))
    if not caller.can(Ability.CONTACTS_READ):
        hide_contacts()
    await spend_of_token(connection, caller.id, scopes.scopes)
    for name in scopes.scopes:
        if is_audited(Ability(name)):
            await begin_entry(connection, database, caller, Ability(name))
