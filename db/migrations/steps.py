"""Steps of migrations that may be run again.

MySQL commits each DDL statement by itself, so a migration that was cut leaves a part of its work behind. A step
first looks whether it was done already; running the migration again then finishes it.
"""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic import op

from db.base import table
from db.types import BigId


def create_table(
    name: str, *elements: sa.Column[Any] | sa.Constraint, indexes: Iterable[tuple[str, ...]] = ()
) -> None:
    """Create the prefixed table and its indexes, whatever of it is still missing."""
    full = table(name)
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(full):
        op.create_table(full, *elements, mysql_default_charset="utf8mb4", mysql_engine="InnoDB")
    for columns in indexes:
        create_index(name, *columns)


def create_index(name: str, *columns: str, any_case: bool = False) -> None:
    """Create an index of the prefixed table, named by the convention of `db.base`, unless it is there.

    `any_case` is for names: SQLite compares text byte by byte unless it is told otherwise, the servers' collations do not.
    """
    full = table(name)
    index = f"ix_{full}_{'_'.join(columns)}"
    if index not in {found["name"] for found in sa.inspect(op.get_bind()).get_indexes(full)}:
        is_told = any_case and op.get_bind().dialect.name == "sqlite"
        op.create_index(index, full, [sa.text(f"{c} COLLATE NOCASE") if is_told else c for c in columns])


def drop_index(name: str, *columns: str) -> None:
    """Drop an index of the prefixed table if it is there."""
    full = table(name)
    index = f"ix_{full}_{'_'.join(columns)}"
    if index in {found["name"] for found in sa.inspect(op.get_bind()).get_indexes(full)}:
        op.drop_index(index, full)


def add_column(name: str, column: sa.Column[Any]) -> None:
    """Add a column to the prefixed table unless it is there."""
    full = table(name)
    if column.name not in {found["name"] for found in sa.inspect(op.get_bind()).get_columns(full)}:
        op.add_column(full, column)


def drop_column(name: str, column: str) -> None:
    """Drop a column of the prefixed table if it is there."""
    full = table(name)
    if column in {found["name"] for found in sa.inspect(op.get_bind()).get_columns(full)}:
        op.drop_column(full, column)


def drop_table(name: str) -> None:
    """Drop the prefixed table if it is there; its indexes go with it."""
    op.drop_table(table(name), if_exists=True)


def fk(column: str, target: str, **options: Any) -> sa.ForeignKeyConstraint:
    """A foreign key to the id of another prefixed table, named by the convention of `db.base`."""
    return sa.ForeignKeyConstraint([column], [f"{table(target)}.id"], **options)


def id_column() -> sa.Column[int]:
    """The surrogate key all tables but the plain link tables have."""
    return sa.Column("id", BigId, primary_key=True, autoincrement=True)


def modify_column(name: str, column: str, kind: sa.types.TypeEngine[Any]) -> None:
    """Give a column of the prefixed table another type, not null; SQLite's columns take any type as they are."""
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column(table(name), column, type_=kind, existing_nullable=False)
