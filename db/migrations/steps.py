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
    there = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(full)}
    for columns in indexes:
        index = f"ix_{full}_{'_'.join(columns)}"
        if index not in there:
            op.create_index(index, full, list(columns))


def drop_table(name: str) -> None:
    """Drop the prefixed table if it is there; its indexes go with it."""
    op.drop_table(table(name), if_exists=True)


def fk(column: str, target: str, **options: Any) -> sa.ForeignKeyConstraint:
    """A foreign key to the id of another prefixed table, named by the convention of `db.base`."""
    return sa.ForeignKeyConstraint([column], [f"{table(target)}.id"], **options)


def id_column() -> sa.Column[int]:
    """The surrogate key all tables but the plain link tables have."""
    return sa.Column("id", BigId, primary_key=True, autoincrement=True)
