"""Client lists."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field

from api.schemas.base import Id, Input, Name, Output
from api.schemas.contacts import ShownRule
from api.schemas.segments import RuleDocument
from db.states import CountKind, ListKind

Description = Annotated[str, Field(max_length=2000)]


class ClientListIn(Input):
    """Static: its members are chosen one by one or by an import. Dynamic: they are whom the `rule` chooses."""

    name: Name
    description: Description = ""
    kind: ListKind = ListKind.STATIC
    rule: RuleDocument | None = None


class ClientListPatch(Input):
    """The fields to change; those left out stay as they are. A list keeps its kind."""

    name: Name = ""
    description: Description = ""
    kind: ListKind = ListKind.STATIC
    rule: RuleDocument = {}


class MembersIn(Input):
    """Up to 1,000 clients a request; an import takes more."""

    client_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]


class MembersChanged(Output):
    """How many clients were put on the list, or taken off it."""

    changed: int


class ClientListOut(Output):
    """`count_kind` says what `member_count` is: counted for this answer (live), when it was counted last, at `counted_at` and in
    `count_seconds` (stored), or not yet (unknown, null)."""

    untagged: ClassVar[frozenset[str]] = frozenset(
        {"member_count", "count_kind", "counted_at", "count_seconds", "updated_at"}
    )

    id: int
    name: str
    description: str
    kind: ListKind
    rule: ShownRule
    member_count: int | None
    count_kind: CountKind
    counted_at: datetime | None
    count_seconds: float | None
    created_at: datetime
    updated_at: datetime
