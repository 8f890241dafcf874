"""Prefect's view of segments."""

from datetime import timedelta

from prefect import task

from db.engine import get_database
from settings import get_settings
from tasks.segments.counting import refresh_counts


@task(name="count-lists", persist_result=False)
def count_lists() -> dict[str, int]:
    """Count large lists again whose count has become old; returns how many were."""
    settings = get_settings()
    older_than = timedelta(minutes=settings.list_count_minutes)
    return refresh_counts(get_database(), older_than=older_than, seconds=settings.list_count_seconds).counts()
