"""Column types that behave alike on SQLite, MariaDB and MySQL."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    Integer,
    LargeBinary,
    String,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""64-bit surrogate key; SQLite numbers rows by itself only for INTEGER."""

JsonDoc = JSON()


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime with microseconds, stored without its zone. A naive value is refused."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone cannot be stored")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def exact(length: int) -> TypeEngine[str]:
    """Text compared byte by byte: MySQL's default collations take `josé@` and `jose@` for the same address."""
    binary = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(binary, "mysql", "mariadb")


def word(kind: type[StrEnum]) -> Enum:
    """A StrEnum stored as its value in a short VARCHAR, so that a new word needs no ALTER TABLE."""
    return Enum(kind, native_enum=False, create_constraint=False, length=24, values_callable=_values)


def short_word(kind: type[StrEnum]) -> Enum:
    """A StrEnum in one byte, for the ledger: a state that changes its length would have to move within its page.
    A new word, added at the end, is an ALTER TABLE that copies nothing."""
    native = mysql.ENUM(kind, values_callable=_values, charset="ascii", collation="ascii_bin")
    return word(kind).with_variant(native, "mysql", "mariadb")


def blob(length: int) -> TypeEngine[bytes]:
    """Bytes up to `length`; MySQL sizes its BLOB types by it (64 KiB, 16 MiB, 4 GiB)."""
    big = mysql.MEDIUMBLOB() if length < 2**24 else mysql.LONGBLOB()
    return LargeBinary(length).with_variant(big, "mysql", "mariadb")


def _values(kind: type[StrEnum]) -> list[str]:
    return [member.value for member in kind]
