"""What the routes of saved mappings take and answer."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, StringConstraints

from api.schemas.base import Input, Name, Output, Text
from api.schemas.member_imports import MappingOut
from db.models import ImportMapping
from tasks.imports.mapping import ColumnMapping
from tasks.imports.plan import from_stored
from tasks.imports.targets import DateOrder, DecimalMark

_ColumnName = Annotated[Text, StringConstraints(min_length=1, max_length=150)]
_TargetName = Annotated[Text, StringConstraints(min_length=1, max_length=100)]


class MappingIn(Input):
    """A mapping to keep: column -> target, and how phones, dates and numbers of such files are read."""

    name: Name
    columns: dict[_ColumnName, _TargetName] = Field(
        min_length=1, max_length=2000, examples=[{"E-mail": "email", "City": "custom.city"}]
    )
    default_region: str | None = Field(None, pattern="^[A-Z]{2}$")
    date_order: DateOrder | None = None
    decimal: DecimalMark | None = None

    def mapping(self) -> ColumnMapping:
        return ColumnMapping(tuple(self.columns.items()), self.default_region, self.date_order, self.decimal)


class SavedMappingOut(Output):
    """A saved mapping."""

    id: int
    name: str
    mapping: MappingOut
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: ImportMapping) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            mapping=MappingOut.of(from_stored(row.mapping)),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
