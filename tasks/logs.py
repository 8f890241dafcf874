"""Structured logs: one JSON object a line on standard error, ids and counts only.

Every line has `event`, `level` and `timestamp`; lines of other libraries (uvicorn, SQLAlchemy) have their `logger` too, and those of a
request its `request_id`. Tracebacks are written without local variables, which would put clients' data and secrets into the log, and
what exceptions say is cleaned of what looks like an address or a key: drivers and validators repeat the values they refuse.
"""

import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog

_ADDRESS: Final = re.compile(r"[^\s/\"'<>,;:(){}\[\]\\=]+@[\w.-]*\w")
_PHONE: Final = re.compile(r"\+\d{7,15}(?!\d)")
# Tokens of ours are 40 random characters; names of tables begin alike, and are words.
_KEY: Final = re.compile(r"\bics_(?![a-z_]+\b)[\w-]{40,}|\bSG\.[\w.-]{8,}")
_PASSWORD: Final = re.compile(r"(?<=://)[^/\s@]+@")
_DUPLICATE: Final = re.compile(r"(?<=Duplicate entry ').*?(?=' for key)", re.DOTALL)
_VALUE: Final = re.compile(r"(?<= value: ').*?(?=' for column|'\"|'$)", re.DOTALL)
_INPUT: Final = re.compile(r"(?<=input_value=).*?(?=, input_type=)", re.DOTALL)
_LONGEST: Final = 2000


def configure_logs(level: str) -> None:
    """Set up logging of this process; called once by each entry point."""
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_SHARED, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # Looked up for each logger: standard error may be another file by then.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # httpx logs whole URLs at INFO, and an unsubscribe link is one.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def capture_library_logs(level: str) -> None:
    """Have what libraries log come out as lines of ours. Not where Prefect runs: it collects logs by handlers of its own."""
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.PositionalArgumentsFormatter(),
                *_SHARED,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if not isinstance(each, _StandardError)]
    root.addHandler(handler)
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        # uvicorn's own configuration, where it was used, has handlers that print what they are given.
        logger.handlers, logger.propagate = [], True
    # One line for each connection that came and went says nothing.
    logging.getLogger("uvicorn.access").disabled = True


def clean(text: str) -> str:
    """The text without what looks like an address, a number or a key, and without the values that drivers repeat."""
    text = _DUPLICATE.sub("...", text[: 4 * _LONGEST])
    text = _VALUE.sub("...", text)
    text = _INPUT.sub("...", text)
    text = _PASSWORD.sub("...@", text)
    text = _ADDRESS.sub("<address>", text)
    text = _PHONE.sub("<number>", text)
    return _KEY.sub("<key>", text)[:_LONGEST]


class _StandardError(logging.StreamHandler[Any]):
    """Standard error as it is when something is written."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _clean_all(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value if name in _OURS else _cleaned(value) for name, value in event.items()}


def _cleaned(value: Any) -> Any:
    """Also inside of a traceback's lists and objects."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {name: each if name in _OURS else _cleaned(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(each) for each in value]
    return value if isinstance(value, int | float | None) else clean(str(value))


# Paths and moments are ours; the record of the standard library is taken out later.
_OURS: Final = frozenset(
    {"timestamp", "level", "logger", "filename", "lineno", "name", "_record", "_from_structlog"}
)
_SHARED: Final[tuple[Callable[..., Any], ...]] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
    _clean_all,
)
