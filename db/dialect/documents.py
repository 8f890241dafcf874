"""JSON documents and what is in them."""

from typing import Any

from sqlalchemy import (
    Dialect,
    Double,
    Integer,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.dialect.conditions import RawCondition


class JsonText(TypeDecorator[str]):
    """A parameter that is the text of a JSON document, megabytes long: put in quotes at once, where PyMySQL goes through all
    texts character by character."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name == "sqlite" else Document(value)


class Document:
    """What PyMySQL is given to quote by `quoted_document`."""

    def __init__(self, text: str) -> None:
        self.text = text


def quoted_document(document: Document, _mapping: Any) -> str:
    """JSON has no control characters, so that nothing but these two can end the text; `sql_mode` is ours (`engine_options`)."""
    return "'" + document.text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class as_json(FunctionElement[Any]):  # noqa: N801
    """A JSON column as a member of `json_array`: SQLite stores it as text and has to be told."""

    inherit_cache = True


@compiles(as_json, "sqlite")
def _json_sqlite(element: as_json, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json({compiler.process(element.clauses, **kw)})"


@compiles(as_json)
def _json_mysql(element: as_json, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


class json_list(FunctionElement[str]):  # noqa: N801
    """The values of a group as one JSON array, in no order."""

    type = String()
    inherit_cache = True


@compiles(json_list, "sqlite")
def _json_list_sqlite(element: json_list, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_group_array({compiler.process(element.clauses, **kw)})"


@compiles(json_list)
def _json_list_mysql(element: json_list, compiler: SQLCompiler, **kw: Any) -> str:
    return f"JSON_ARRAYAGG({compiler.process(element.clauses, **kw)})"


class json_text(FunctionElement[str]):  # noqa: N801
    """A member of a JSON document by its path, as JSON text: `"Cork"` with its quotes, `3`, `[]`.

    `null` or NULL where there is no such member.
    """

    type = String()
    inherit_cache = True


@compiles(json_text, "sqlite")
def _json_text_sqlite(element: json_text, compiler: SQLCompiler, **kw: Any) -> str:
    arguments = compiler.process(element.clauses, **kw)
    # SQLite extracts true and false as 1 and 0, which no longer tells them from numbers.
    return (
        f"CASE json_type({arguments}) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' "
        f"ELSE json_quote(json_extract({arguments})) END"
    )


@compiles(json_text)
def _json_text_mysql(element: json_text, compiler: SQLCompiler, **kw: Any) -> str:
    # MySQL compares its JSON type by value, MariaDB has only text: as text both say the same.
    return f"CAST(JSON_EXTRACT({compiler.process(element.clauses, **kw)}) AS CHAR)"


class json_string(FunctionElement[str]):  # noqa: N801
    """A text member of a JSON document by its path, without quotes and escapes; NULL where there is none."""

    type = String()
    inherit_cache = True


@compiles(json_string, "sqlite")
def _json_string_sqlite(element: json_string, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_extract({compiler.process(element.clauses, **kw)})"


@compiles(json_string)
def _json_string_mysql(element: json_string, compiler: SQLCompiler, **kw: Any) -> str:
    arguments = compiler.process(element.clauses, **kw)
    if getattr(compiler.dialect, "is_mariadb", False):
        return f"JSON_VALUE({arguments})"
    # MySQL's JSON_VALUE cuts at 512 characters unless it is told a type.
    return f"JSON_UNQUOTE(JSON_EXTRACT({arguments}))"


class json_has(RawCondition):  # noqa: N801
    """Whether a JSON array has a member; the member is given as JSON text."""

    inherit_cache = True


@compiles(json_has, "sqlite")
def _json_has_sqlite(element: json_has, compiler: SQLCompiler, **kw: Any) -> str:
    document, member = (compiler.process(each, **kw) for each in element.clauses)
    return f"EXISTS (SELECT 1 FROM json_each({document}) WHERE json_quote(value) = {member})"


@compiles(json_has)
def _json_has_mysql(element: json_has, compiler: SQLCompiler, **kw: Any) -> str:
    return f"JSON_CONTAINS({compiler.process(element.clauses, **kw)})"


class json_there(RawCondition):  # noqa: N801
    """Whether a JSON document has a member, by its path."""

    inherit_cache = True


@compiles(json_there, "sqlite")
def _json_there_sqlite(element: json_there, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_type({compiler.process(element.clauses, **kw)}) IS NOT NULL"


@compiles(json_there)
def _json_there_mysql(element: json_there, compiler: SQLCompiler, **kw: Any) -> str:
    return f"JSON_EXTRACT({compiler.process(element.clauses, **kw)}) IS NOT NULL"


class json_size(FunctionElement[int]):  # noqa: N801
    """The number of members of a JSON array."""

    type = Integer()
    inherit_cache = True


@compiles(json_size, "sqlite")
def _json_size_sqlite(element: json_size, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array_length({compiler.process(element.clauses, **kw)})"


@compiles(json_size)
def _json_size_mysql(element: json_size, compiler: SQLCompiler, **kw: Any) -> str:
    return f"JSON_LENGTH({compiler.process(element.clauses, **kw)})"


class json_number(FunctionElement[float]):  # noqa: N801
    """A member of a JSON document by its path, to be compared with numbers. Whether it is one, `json_is_number` says.

    Not a CAST, which is an error for other texts where the statement writes rows (`INSERT ... SELECT`, strict mode).
    """

    type = Double()
    inherit_cache = True


@compiles(json_number)
def _json_number(element: json_number, compiler: SQLCompiler, **kw: Any) -> str:
    return f"JSON_EXTRACT({compiler.process(element.clauses, **kw)})"


class json_is_number(RawCondition):  # noqa: N801
    """Whether a member of a JSON document is there, and a number."""

    inherit_cache = True


@compiles(json_is_number, "sqlite")
def _json_is_number_sqlite(element: json_is_number, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_type({compiler.process(element.clauses, **kw)}) IN ('integer', 'real')"


@compiles(json_is_number)
def _json_is_number_mysql(element: json_is_number, compiler: SQLCompiler, **kw: Any) -> str:
    member = f"JSON_EXTRACT({compiler.process(element.clauses, **kw)})"
    return f"JSON_TYPE({member}) IN ('INTEGER', 'UNSIGNED INTEGER', 'DOUBLE', 'DECIMAL')"


class json_boolean(FunctionElement[str]):  # noqa: N801
    """A member of a JSON document by its path: the text `true` or `false` where it is one of them, anything else where not."""

    type = String()
    inherit_cache = True


@compiles(json_boolean, "sqlite")
def _json_boolean_sqlite(element: json_boolean, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_type({compiler.process(element.clauses, **kw)})"


@compiles(json_boolean)
def _json_boolean_mysql(element: json_boolean, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(JSON_EXTRACT({compiler.process(element.clauses, **kw)}) AS CHAR)"
