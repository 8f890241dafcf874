"""Prefect flows. Whoever imports one logs as every process of the platform does: without local variables, which structlog shows by
default."""

from settings import get_settings
from tasks.logs import configure_logs

configure_logs(get_settings().log_level)
