"""Whom an export or a bulk operation is about: everybody, a list, or whom a rule describes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.orm import Session

from db.errors import Invalid
from db.models import Client, ClientListMember
from db.queries.client_lists import get_client_list
from db.states import ListKind


@dataclass(frozen=True)
class Choice:
    """The members of a list, or whom a segment rule describes now; neither means everybody."""

    list_id: int | None = None
    rule: Mapping[str, Any] | None = None


def condition_of(session: Session, choice: Choice) -> ColumnElement[bool]:
    """What is true of the clients that are meant.

    Raises:
        NotFound: there is no such list.
        Invalid: the rule cannot be understood, and why.
    """
    if choice.list_id is not None:
        found = get_client_list(session, choice.list_id)
        if found.kind is ListKind.STATIC:
            members = select(ClientListMember.client_id).where(ClientListMember.client_list_id == found.id)
            return Client.id.in_(members)
        return _rule_condition(session, found.rule or {})
    return true() if choice.rule is None else _rule_condition(session, choice.rule)


def is_static(session: Session, choice: Choice) -> bool:
    """Whether it is a list whose members are rows; raises NotFound as `condition_of`."""
    return choice.list_id is not None and get_client_list(session, choice.list_id).kind is ListKind.STATIC


def _rule_condition(session: Session, rule: Mapping[str, Any]) -> ColumnElement[bool]:
    raise Invalid("rule", "segment rules are not there yet")
