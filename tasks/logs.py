"""Structured logs: one JSON object a line, ids and counts only.

Tracebacks are written without local variables, which would put clients' data and secrets into the log.
"""

import logging

import structlog


def configure_logs(level: str) -> None:
    """Set up logging of this process; called once by each entry point."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=False,
    )
    # httpx logs whole URLs at INFO, and an unsubscribe link is one.
    logging.getLogger("httpx").setLevel(logging.WARNING)
