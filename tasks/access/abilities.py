"""Abilities, and which of them a role has. Pure.

An ability is `resource:action`. A token can do what its role allows *and* what its own abilities name; a token that names none
can do all that its role allows.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from db.states import Role


class Ability(StrEnum):
    """Every ability there is; each route names one (`api.abilities.needs`)."""

    ACCOUNT_OWN = "account:own"
    ACCOUNT_MANAGE = "account:manage"
    ASSETS_READ = "assets:read"
    ASSETS_WRITE = "assets:write"
    ASSETS_DELETE = "assets:delete"
    AUDIT_READ = "audit:read"
    CLIENTS_READ = "clients:read"
    CLIENTS_WRITE = "clients:write"
    CLIENTS_DELETE = "clients:delete"
    CLIENTS_EXPORT = "clients:export"
    CLIENTS_ERASE = "clients:erase"
    CONTACTS_READ = "contacts:read"
    ENDPOINTS_READ = "endpoints:read"
    ENDPOINTS_WRITE = "endpoints:write"
    EXECUTIONS_READ = "executions:read"
    EXECUTIONS_CONTROL = "executions:control"
    EXECUTIONS_RESEND = "executions:resend"
    EXECUTIONS_APPROVE = "executions:approve"
    EXECUTIONS_EXPORT = "executions:export"
    FIELDS_READ = "fields:read"
    FIELDS_WRITE = "fields:write"
    FIELDS_DELETE = "fields:delete"
    FLOWS_READ = "flows:read"
    FLOWS_WRITE = "flows:write"
    FLOWS_DELETE = "flows:delete"
    FLOWS_SEND = "flows:send"
    IMPORTS_READ = "imports:read"
    IMPORTS_WRITE = "imports:write"
    IMPORTS_EXPORT = "imports:export"
    IMPORTS_UNDO = "imports:undo"
    LIMITS_READ = "limits:read"
    LIMITS_WRITE = "limits:write"
    LISTS_READ = "lists:read"
    LISTS_WRITE = "lists:write"
    LISTS_DELETE = "lists:delete"
    LISTS_EXPORT = "lists:export"
    OPERATIONS_READ = "operations:read"
    OPERATIONS_RETRY = "operations:retry"
    PAGES_READ = "pages:read"
    PAGES_WRITE = "pages:write"
    PAGES_DELETE = "pages:delete"
    PAGES_PUBLISH = "pages:publish"
    SUPPRESSIONS_READ = "suppressions:read"
    SUPPRESSIONS_WRITE = "suppressions:write"
    SUPPRESSIONS_EXPORT = "suppressions:export"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    TEMPLATES_DELETE = "templates:delete"
    TEMPLATES_SEND = "templates:send"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_REPLAY = "webhooks:replay"

    @property
    def action(self) -> str:
        """What follows the colon, e.g. `export`."""
        return self.value.partition(":")[2]


_ONLY_ADMINS: Final = frozenset(
    {
        Ability.AUDIT_READ,
        Ability.CLIENTS_ERASE,
        Ability.ENDPOINTS_READ,
        Ability.ENDPOINTS_WRITE,
        Ability.LIMITS_WRITE,
        Ability.USERS_READ,
        Ability.USERS_WRITE,
    }
)
# Raw webhooks hold addresses as the provider wrote them, which nothing can hide.
_NOT_FOR_VIEWERS: Final = _ONLY_ADMINS | {Ability.CONTACTS_READ, Ability.WEBHOOKS_READ}

ABILITIES_OF: Final[Mapping[Role, frozenset[Ability]]] = {
    Role.ADMIN: frozenset(Ability),
    Role.EDITOR: frozenset(Ability) - _ONLY_ADMINS,
    Role.VIEWER: frozenset(
        each
        for each in Ability
        if (each.action == "read" or each.value.startswith("account:")) and each not in _NOT_FOR_VIEWERS
    ),
}

_AUDITED_ACTIONS: Final = frozenset(
    {
        "approve",
        "control",
        "delete",
        "erase",
        "export",
        "publish",
        "replay",
        "resend",
        "retry",
        "send",
        "undo",
    }
)
_AUDITED: Final = frozenset(
    {
        Ability.ACCOUNT_MANAGE,
        Ability.ACCOUNT_OWN,
        Ability.ENDPOINTS_WRITE,
        Ability.LIMITS_WRITE,
        Ability.SUPPRESSIONS_WRITE,
        Ability.USERS_WRITE,
    }
)


def abilities_of(role: Role, named: Collection[str] | None) -> frozenset[Ability]:
    """What a token can do: of its role, and of those only the `named` ones when there are any names at all."""
    allowed = ABILITIES_OF[role]
    if named is None:
        return allowed
    # Every token may look at itself and end itself.
    return allowed & ({each for each in Ability if each.value in named} | {Ability.ACCOUNT_OWN})


def is_audited(ability: Ability) -> bool:
    """Whether each use of the ability is kept: all that sends, exports, deletes, or touches suppressions, users and tokens."""
    return ability in _AUDITED or ability.action in _AUDITED_ACTIONS
