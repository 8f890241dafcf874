"""The Prefect flow that keeps the member counts of large lists from growing old."""

from prefect import flow

from tasks.segments.jackets import count_lists


@flow(name="refresh-lists", persist_result=False)
def refresh_lists() -> dict[str, int]:
    """Runs every five minutes; counts the lists that were counted longest ago."""
    return count_lists()
