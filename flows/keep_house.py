"""The Prefect flow that keeps the house in order: seals the audit log, forgets what was kept for a while only."""

from prefect import flow

from tasks.access.jackets import forget_keys, seal_audit


@flow(name="keep-house", persist_result=False)
def keep_house() -> dict[str, int]:
    """Runs every ten minutes."""
    return {"sealed": seal_audit(), "forgotten": forget_keys()}
