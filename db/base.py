"""The declarative base: table prefix, constraint names, and the columns that many tables share."""

from datetime import datetime
from typing import Annotated

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, mapped_column

from db.dialect import utc_now
from db.types import BigId, UTCDateTime
from settings import get_settings

PREFIX = get_settings().table_prefix

# Names stay below MySQL's 64 characters with a prefix of 20: the referred table is left out of foreign keys.
NAMING = {
    "pk": "pk_%(table_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


def table(name: str) -> str:
    """The table's full name: the prefix of `ICS_TABLE_PREFIX` and the word of the design."""
    return PREFIX + name


Id = Annotated[int, mapped_column(BigId, primary_key=True, autoincrement=True)]
CreatedAt = Annotated[datetime, mapped_column(UTCDateTime, nullable=False, server_default=utc_now())]
UpdatedAt = Annotated[
    datetime, mapped_column(UTCDateTime, nullable=False, server_default=utc_now(), onupdate=utc_now())
]
