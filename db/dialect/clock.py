"""The database's own clock."""

from typing import Any

from sqlalchemy import Dialect, Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.types import UTCDateTime

# strftime gives milliseconds; the padding keeps the text comparable with what SQLAlchemy writes.
_NOW_SQLITE = "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"
_NOW_MYSQL = "(UTC_TIMESTAMP(6))"


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
    return _NOW_SQLITE


@compiles(utc_now)
def _now_mysql(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    return _NOW_MYSQL


@compiles(utc_in, "sqlite")
def _in_sqlite(element: utc_in, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', ({seconds}) || ' seconds') || '000')"


@compiles(utc_in)
def _in_mysql(element: utc_in, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(UTC_TIMESTAMP(6) + INTERVAL ({compiler.process(element.clauses, **kw)}) SECOND)"


class seconds_between(FunctionElement[float]):  # noqa: N801
    """Seconds from a moment to a later one, with their fractions; null where one of them is."""

    type = Double()
    inherit_cache = True


@compiles(seconds_between, "sqlite")
def _between_sqlite(element: seconds_between, compiler: SQLCompiler, **kw: Any) -> str:
    earlier, later = (compiler.process(each, **kw) for each in element.clauses)
    return f"((julianday({later}) - julianday({earlier})) * 86400.0)"


@compiles(seconds_between)
def _between_mysql(element: seconds_between, compiler: SQLCompiler, **kw: Any) -> str:
    earlier, later = (compiler.process(each, **kw) for each in element.clauses)
    return f"(TIMESTAMPDIFF(MICROSECOND, {earlier}, {later}) / 1e6)"


def now_text(dialect: Dialect) -> str:
    """`utc_now` in SQL text."""
    return _NOW_SQLITE if dialect.name == "sqlite" else _NOW_MYSQL


class to_minute(FunctionElement[Any]):  # noqa: N801
    """A moment without its seconds."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(to_minute, "sqlite")
def _minute_sqlite(element: to_minute, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(strftime('%Y-%m-%d %H:%M:00.000000', {compiler.process(element.clauses, **kw)}))"


@compiles(to_minute)
def _minute_mysql(element: to_minute, compiler: SQLCompiler, **kw: Any) -> str:
    moment = compiler.process(element.clauses, **kw)
    return f"({moment} - INTERVAL (SECOND({moment}) * 1000000 + MICROSECOND({moment})) MICROSECOND)"


class to_hour(FunctionElement[Any]):  # noqa: N801
    """A moment without its minutes and seconds."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(to_hour, "sqlite")
def _hour_sqlite(element: to_hour, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(strftime('%Y-%m-%d %H:00:00.000000', {compiler.process(element.clauses, **kw)}))"


@compiles(to_hour)
def _hour_mysql(element: to_hour, compiler: SQLCompiler, **kw: Any) -> str:
    moment = compiler.process(element.clauses, **kw)
    return f"(DATE({moment}) + INTERVAL HOUR({moment}) HOUR)"


class to_day(FunctionElement[Any]):  # noqa: N801
    """The midnight, in UTC, before a moment."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(to_day, "sqlite")
def _day_sqlite(element: to_day, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(strftime('%Y-%m-%d 00:00:00.000000', {compiler.process(element.clauses, **kw)}))"


@compiles(to_day)
def _day_mysql(element: to_day, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(DATE({compiler.process(element.clauses, **kw)}) + INTERVAL 0 HOUR)"
