"""Everything in which SQLite, MariaDB and MySQL differ. No other module asks which database it talks to."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Dialect,
    Double,
    Engine,
    Insert,
    Integer,
    Select,
    String,
    Text,
    TextClause,
    TypeDecorator,
    bindparam,
    event,
    insert,
    literal,
    text,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql import TableClause
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.errors import TookTooLong
from db.segments.texts import fold
from db.types import UTCDateTime

MYSQL = ("mysql", "mariadb")
# 1020 record changed since last read (MariaDB >= 11.6.2), 1205 lock wait time-out, 1213 deadlock.
_RETRYABLE_MYSQL = {1020, 1205, 1213}
# What ends a statement that reached its time limit: MariaDB, MySQL, SQLite.
_TIMED_OUT = {1969, 3024, "interrupted"}
_SQLITE_STEPS = 10_000
_GATHERED_BYTES = 8 * 1024 * 1024


class utc_now(FunctionElement[Any]):  # noqa: N801 - reads as the SQL function it is
    """The database's own clock, in UTC with microseconds. Leases never trust a worker's clock."""

    type = UTCDateTime()
    inherit_cache = True


class utc_in(FunctionElement[Any]):  # noqa: N801
    """The database's clock plus a number of seconds."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(utc_now, "sqlite")
def _now_sqlite(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    # strftime gives milliseconds; the padding keeps the text comparable with what SQLAlchemy writes.
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


@compiles(utc_now)
def _now_mysql(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "(UTC_TIMESTAMP(6))"


@compiles(utc_in, "sqlite")
def _in_sqlite(element: utc_in, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', ({seconds}) || ' seconds') || '000')"


@compiles(utc_in)
def _in_mysql(element: utc_in, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(UTC_TIMESTAMP(6) + INTERVAL ({compiler.process(element.clauses, **kw)}) SECOND)"


class JsonText(TypeDecorator[str]):
    """A parameter that is the text of a JSON document, megabytes long: put in quotes at once, where PyMySQL goes through all
    texts character by character."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name == "sqlite" else _Document(value)


class _Document:
    """What PyMySQL is given to quote by `_quoted_document`."""

    def __init__(self, text: str) -> None:
        self.text = text


def _quoted_document(document: _Document, _mapping: Any) -> str:
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


class _Condition(FunctionElement[bool]):
    """Something that is a condition as it stands: SQLAlchemy would add `= 1` for databases without a boolean type."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:
        return self


class json_has(_Condition):  # noqa: N801
    """Whether a JSON array has a member; the member is given as JSON text."""

    inherit_cache = True


@compiles(json_has, "sqlite")
def _json_has_sqlite(element: json_has, compiler: SQLCompiler, **kw: Any) -> str:
    document, member = (compiler.process(each, **kw) for each in element.clauses)
    return f"EXISTS (SELECT 1 FROM json_each({document}) WHERE json_quote(value) = {member})"


@compiles(json_has)
def _json_has_mysql(element: json_has, compiler: SQLCompiler, **kw: Any) -> str:
    return f"JSON_CONTAINS({compiler.process(element.clauses, **kw)})"


class json_there(_Condition):  # noqa: N801
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


class json_is_number(_Condition):  # noqa: N801
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


class is_not_true(_Condition):  # noqa: N801
    """The complement of a condition: true where it is false, and where it is NULL."""

    inherit_cache = True


@compiles(is_not_true)
def _is_not_true(element: is_not_true, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(({compiler.process(element.clauses, **kw)}) IS NOT TRUE)"


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


class _begins_with(_Condition):  # noqa: N801
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


def found_by(rows: Select[Any]) -> ColumnElement[bool]:
    """Whether the correlated select finds a row. Looked up for each row outside, along the index that it names.

    Not EXISTS: the servers may turn that into a join and read the inner table as a whole, though the conditions before it leave
    few rows; a subquery that is a value they run as it stands.
    """
    return rows.limit(1).scalar_subquery().is_not(None)


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


def insert_ignore(target: TableClause | type[Any]) -> Insert:
    """An INSERT that leaves rows alone whose unique key is already there."""
    statement = insert(target)
    for name in MYSQL:
        statement = statement.prefix_with("IGNORE", dialect=name)
    return statement.prefix_with("OR IGNORE", dialect="sqlite")


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


def merge_json(dialect: Dialect, old: str, new: str) -> str:
    """SQL text of the JSON document `old` with the members of `new` laid over it (RFC 7396)."""
    return f"json_patch({old}, {new})" if dialect.name == "sqlite" else f"JSON_MERGE_PATCH({old}, {new})"


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


@contextmanager
def time_limit(session: Session, what: str, seconds: float) -> Iterator[None]:
    """Each SELECT of the block that runs for longer is given up. The session can be used afterwards.

    Raises:
        TookTooLong: says that `what` takes too long.
    """
    connection = session.connection()
    try:
        with _limited(connection, seconds):
            yield
    except DBAPIError as error:
        code = error.orig.args[0] if error.orig is not None and error.orig.args else None
        if code in _TIMED_OUT:
            raise TookTooLong(what, seconds) from None
        raise


@contextmanager
def _limited(connection: Connection, seconds: float) -> Iterator[None]:
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        deadline = monotonic() + seconds
        driver.set_progress_handler(lambda: monotonic() > deadline, _SQLITE_STEPS)
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)
        return
    if getattr(connection.dialect, "is_mariadb", False):
        name, value = "max_statement_time", f"{seconds:.3f}"
    else:
        name, value = "max_execution_time", str(max(1, round(seconds * 1000)))
    connection.exec_driver_sql(f"SET SESSION {name} = {value}")
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.exec_driver_sql(f"SET SESSION {name} = DEFAULT")


def is_retryable(error: BaseException) -> bool:
    """Whether the whole transaction was rolled back by the database and may simply be run again."""
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return False
    if "database is locked" in str(error.orig):
        return True
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return code in _RETRYABLE_MYSQL


def engine_options(url_name: str) -> dict[str, Any]:
    """Arguments of `create_engine` for the database family of the URL."""
    if url_name == "sqlite":
        return {"connect_args": {"timeout": 30, "check_same_thread": False}}
    from pymysql.converters import conversions

    return {
        "isolation_level": "READ COMMITTED",
        "pool_pre_ping": True,
        "pool_recycle": 1800,
        "pool_size": 10,
        "max_overflow": 20,
        "connect_args": {
            "connect_timeout": 10,
            "charset": "utf8mb4",
            "conv": {**conversions, _Document: _quoted_document},
            "init_command": "SET time_zone = '+00:00', sql_mode = 'TRADITIONAL,ONLY_FULL_GROUP_BY',"
            # Many rows are read as one text; see `gathered`.
            f" group_concat_max_len = {_GATHERED_BYTES}",
        },
    }


def prepare_engine(engine: Engine) -> None:
    """Set what SQLite needs on each connection and transaction; nothing to do for the servers."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "busy_timeout = 30000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        connection.create_function("ics_fold", 1, _fold, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A writer takes the lock at once: an upgrade in the middle of a transaction could not be waited for.
        mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")


def _fold(value: object) -> object:
    return fold(value) if isinstance(value, str) else value
