"""Whom an export or a bulk operation is about: everybody, a list, or whom a rule describes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, true
from sqlalchemy.orm import Session

from db.queries.client_lists import get_client_list
from db.queries.segments import members_condition, segment_condition
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
        return members_condition(session, get_client_list(session, choice.list_id))
    return true() if choice.rule is None else segment_condition(session, choice.rule)


def is_static(session: Session, choice: Choice) -> bool:
    """Whether it is a list whose members are rows; raises NotFound as `condition_of`."""
    return choice.list_id is not None and get_client_list(session, choice.list_id).kind is ListKind.STATIC
