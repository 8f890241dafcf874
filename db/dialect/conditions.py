"""Conditions that each database writes in its own way."""

from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class RawCondition(FunctionElement[bool]):
    """Something that is a condition as it stands: SQLAlchemy would add `= 1` for databases without a boolean type."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:
        return self


class is_not_true(RawCondition):  # noqa: N801
    """The complement of a condition: true where it is false, and where it is NULL."""

    inherit_cache = True


@compiles(is_not_true)
def _is_not_true(element: is_not_true, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(({compiler.process(element.clauses, **kw)}) IS NOT TRUE)"


def found_by(rows: Select[Any]) -> ColumnElement[bool]:
    """Whether the correlated select finds a row. Looked up for each row outside, along the index that it names.

    Not EXISTS: the servers may turn that into a join and read the inner table as a whole, though the conditions before it leave
    few rows; a subquery that is a value they run as it stands.
    """
    return rows.limit(1).scalar_subquery().is_not(None)
