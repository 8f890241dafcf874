"""Client lists."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from api.schemas.base import Id, Input, Name, Output
from db.states import ListKind

Description = Annotated[str, Field(max_length=2000)]


def _only_static(kind: ListKind) -> ListKind:
    if kind is not ListKind.STATIC:
        raise ValueError("only static lists exist so far: their members are chosen")
    return kind


class ClientListIn(Input):
    """A static list: its members are chosen one by one or by an import."""

    name: Name
    description: Description = ""
    kind: Annotated[ListKind, AfterValidator(_only_static)] = ListKind.STATIC


class ClientListPatch(Input):
    """The fields to change; those left out stay as they are."""

    name: Name = ""
    description: Description = ""


class MembersIn(Input):
    """Up to 1,000 clients a request; an import takes more."""

    client_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]


class MembersChanged(Output):
    """How many clients were put on the list, or taken off it."""

    changed: int


class ClientListOut(Output):
    id: int
    name: str
    description: str
    kind: ListKind
    member_count: int
    created_at: datetime
    updated_at: datetime
