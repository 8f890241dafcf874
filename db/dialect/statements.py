"""Parts of statements: rows from JSON, updates from them, locks."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Dialect,
    Insert,
    Select,
    TextClause,
    bindparam,
    insert,
    text,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.sql import TableClause

from db.dialect.documents import JsonText

MYSQL = ("mysql", "mariadb")
GATHERED_BYTES = 8 * 1024 * 1024


def insert_ignore(target: TableClause | type[Any]) -> Insert:
    """An INSERT that leaves rows alone whose unique key is already there."""
    statement = insert(target)
    for name in MYSQL:
        statement = statement.prefix_with("IGNORE", dialect=name)
    return statement.prefix_with("OR IGNORE", dialect="sqlite")


def add_up(session: Session, target: type[Any], rows: Sequence[Mapping[str, Any]], column: str) -> Insert:
    """An INSERT of rows whose `column` is added to that of the row that has their primary key, where there is one."""
    table = target.__table__
    if session.get_bind().dialect.name == "sqlite":
        lite = sqlite.insert(table).values(rows)
        return lite.on_conflict_do_update(
            index_elements=list(table.primary_key), set_={column: table.c[column] + lite.excluded[column]}
        )
    statement = mysql.insert(table).values(rows)
    return statement.on_duplicate_key_update({column: table.c[column] + statement.inserted[column]})


def json_rows(dialect: Dialect, parameter: str, columns: Mapping[str, str]) -> str:
    """A FROM item that turns the JSON array of objects bound to `parameter` into rows of text columns.

    `columns` maps names to MySQL text types; a member that is missing is NULL. The servers compare the
    columns byte by byte, as those made by `db.types.exact`, since collations cannot be mixed in a comparison.
    """
    if dialect.name == "sqlite":
        picked = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        return f"(SELECT {picked} FROM json_each(:{parameter}))"
    # Without ERROR ON ERROR a value that does not fit would silently become NULL.
    exact = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    picked = ", ".join(
        f"{name} {kind} {exact} PATH '$.{name}' NULL ON EMPTY ERROR ON ERROR"
        for name, kind in columns.items()
    )
    return f"JSON_TABLE(:{parameter}, '$[*]' COLUMNS ({picked}))"


def json_arrays(dialect: Dialect, parameter: str, columns: Mapping[str, str]) -> str:
    """As `json_rows`, of a JSON array of arrays: each holds a row's values in the order of `columns`.

    Half as long as objects, and much faster to be taken apart. Types are those of MySQL; a null is NULL.
    """
    if dialect.name == "sqlite":
        picked = ", ".join(f"json_extract(value, '$[{i}]') AS {name}" for i, name in enumerate(columns))
        return f"(SELECT {picked} FROM json_each(:{parameter}))"
    exact = " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    picked = ", ".join(
        f"{name} {kind}{'' if kind == 'BIGINT' else exact} PATH '$[{i}]' NULL ON EMPTY ERROR ON ERROR"
        for i, (name, kind) in enumerate(columns.items())
    )
    return f"JSON_TABLE(:{parameter}, '$[*]' COLUMNS ({picked}))"


def with_rows(statement: str, parameter: str) -> TextClause:
    """SQL text whose `parameter` is the JSON document of `json_arrays` or `json_rows`."""
    return text(statement).bindparams(bindparam(parameter, type_=JsonText()))


def gathered(expression: str) -> str:
    """SQL text: the texts of all rows in one, a comma between them. The servers cut it, with a warning only, where it is longer
    than what is taken in one piece: count the rows."""
    return f"GROUP_CONCAT({expression})"


def looked_up(dialect: Dialect, source: str, target: str, *, on: str) -> str:
    """A FROM item: the rows of `target` for each row of the FROM item `source`, named `incoming`, in this order."""
    join = "CROSS JOIN" if dialect.name == "sqlite" else "STRAIGHT_JOIN"
    return f"{source} AS incoming {join} {target} ON {on}"


def ignoring(dialect: Dialect) -> str:
    """The words between INSERT and INTO that leave rows alone whose unique key is already there."""
    return "OR IGNORE" if dialect.name == "sqlite" else "IGNORE"


def json_member(dialect: Dialect, column: str) -> str:
    """As `as_json`, in SQL text."""
    return f"json({column})" if dialect.name == "sqlite" else column


def quoted(dialect: Dialect, name: str) -> str:
    """A name for SQL text, in quotes where it is a word of the database's own."""
    return str(dialect.identifier_preparer.quote(name))


def row_lock(session: Session, target: str) -> str:
    """The suffix of a SELECT that locks its rows of the table `target`; SQLite has one writer at a time anyway.

    MySQL would lock the rows of a JSON_TABLE too, and refuses that; MariaDB does not know how to say it.
    """
    dialect = session.get_bind().dialect
    if dialect.name == "sqlite":
        return ""
    return " FOR UPDATE" if getattr(dialect, "is_mariadb", False) else f" FOR UPDATE OF {target}"


def update_from(
    dialect: Dialect, target: str, source: str, *, on: str, assignments: Mapping[str, str]
) -> str:
    """An UPDATE of the rows of `target` that match the FROM item `source`, which is named `incoming`.

    `on` and the assigned expressions write columns as `target.column` and `incoming.column`.
    """
    if dialect.name == "sqlite":
        pairs = ", ".join(f"{column} = {value}" for column, value in assignments.items())
        return f"UPDATE {target} SET {pairs} FROM {source} AS incoming WHERE {on}"
    pairs = ", ".join(f"{target}.{column} = {value}" for column, value in assignments.items())
    # The order of the join is fixed: one look-up by key for each incoming row, never a scan of the table.
    return f"UPDATE {source} AS incoming STRAIGHT_JOIN {target} ON {on} SET {pairs}"


def share_lock(session: Session) -> str:
    """The suffix of a SELECT that takes shared row locks; MariaDB knows only the older spelling."""
    return "" if session.get_bind().dialect.name == "sqlite" else " LOCK IN SHARE MODE"


def joined_as_written(query: Select[Any]) -> Select[Any]:
    """The query with its tables read in the order in which it names them."""
    for server in ("mysql", "mariadb"):
        query = query.prefix_with("STRAIGHT_JOIN", dialect=server)
    return query
