"""Text to compare and to look for, whatever the collation says."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Dialect,
    String,
    literal,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.dialect.conditions import RawCondition


class folded(FunctionElement[str]):  # noqa: N801
    """Text in lower case, to be compared with what `db.segments.texts.fold` made: bytes, so no collation has a say.

    Collations of the servers differ from each other, and all of the older ones take `a` and `a ` for equal.
    """

    type = String()
    inherit_cache = True


@compiles(folded, "sqlite")
def _folded_sqlite(element: folded, compiler: SQLCompiler, **kw: Any) -> str:
    return f"ics_fold({compiler.process(element.clauses, **kw)})"


@compiles(folded)
def _folded_mysql(element: folded, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(LOWER({compiler.process(element.clauses, **kw)} COLLATE utf8mb4_bin) AS BINARY)"


class as_bytes(FunctionElement[str]):  # noqa: N801
    """Text to be compared byte by byte, whatever its collation."""

    type = String()
    inherit_cache = True


@compiles(as_bytes, "sqlite")
def _bytes_sqlite(element: as_bytes, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(as_bytes)
def _bytes_mysql(element: as_bytes, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS BINARY)"


class as_name(FunctionElement[str]):  # noqa: N801
    """A name as people look for it, without regard to case. The servers' collations do so by themselves."""

    type = String()
    inherit_cache = True


@compiles(as_name, "sqlite")
def _name_sqlite(element: as_name, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.clauses, **kw)} COLLATE NOCASE)"


@compiles(as_name)
def _name_mysql(element: as_name, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


class _begins_with(RawCondition):  # noqa: N801
    inherit_cache = True


def begins_with(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Whether a name begins with the prefix; a range of the name's index."""
    return _begins_with(
        column, literal(prefix), literal(_escaped(prefix) + "%"), literal(prefix + "\U0010ffff")
    )


@compiles(_begins_with, "sqlite")
def _begins_sqlite(element: _begins_with, compiler: SQLCompiler, **kw: Any) -> str:
    column, prefix, _, end = element.clauses
    name, low, high = (compiler.process(each, **kw) for each in (column, prefix, end))
    return f"({name} >= {low} AND {name} < {high})"


@compiles(_begins_with)
def _begins_mysql(element: _begins_with, compiler: SQLCompiler, **kw: Any) -> str:
    column, _, pattern, _ = element.clauses
    return f"({compiler.process(column, **kw)} LIKE {compiler.process(pattern, **kw)} ESCAPE '|')"


def _escaped(text: str) -> str:
    for character in "|%_":
        text = text.replace(character, "|" + character)
    return text


class bytes_text(FunctionElement[str]):  # noqa: N801
    """Bytes as text to look for something in, in lower case. Each byte is a character: `to_bytes_text` writes what is looked
    for in the same way."""

    type = String()
    inherit_cache = True


@compiles(bytes_text, "sqlite")
def _bytes_text_sqlite(element: bytes_text, compiler: SQLCompiler, **kw: Any) -> str:
    return f"lower(CAST({compiler.process(element.clauses, **kw)} AS TEXT))"


@compiles(bytes_text)
def _bytes_text_mysql(element: bytes_text, compiler: SQLCompiler, **kw: Any) -> str:
    return f"LOWER(CONVERT({compiler.process(element.clauses, **kw)} USING latin1))"


def to_bytes_text(dialect: Dialect, text: str) -> str:
    """`text`, in lower case, as it stands in `bytes_text` of its UTF-8."""
    return text if dialect.name == "sqlite" else text.encode().decode("cp1252", "replace")


class group_key(FunctionElement[str]):  # noqa: N801
    """What stands for a text of any length, byte by byte, where rows are grouped by it: the servers compare only the beginning
    of long texts when they sort them."""

    type = String()
    inherit_cache = True


@compiles(group_key, "sqlite")
def _group_key_sqlite(element: group_key, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(group_key)
def _group_key_mysql(element: group_key, compiler: SQLCompiler, **kw: Any) -> str:
    return f"SHA2({compiler.process(element.clauses, **kw)}, 256)"
