"""Artifacts are a view: a Prefect server that is away must not stop the work, so failing to show is only logged."""

from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger()


def try_to_show(show: Callable[..., Any], **arguments: Any) -> Any:
    """Call one of Prefect's artifact functions; None when that fails."""
    try:
        return show(**arguments)
    except Exception as error:
        log.warning("progress not shown", error=type(error).__name__)
        return None
