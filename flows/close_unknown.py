"""The Prefect flow that leaves no message in `sending` or unknown for longer than it has to be, whatever died."""

from prefect import flow

from tasks.feedback.jackets import close_executions


@flow(name="close-unknown", persist_result=False)
def close_unknown() -> dict[str, int]:
    """Runs every minute; does nothing when there is nothing to do."""
    return close_executions()
