"""The Prefect flow that applies webhooks which were received but not applied, after a crash for example."""

from prefect import flow

from tasks.feedback.jackets import apply_inbox, forget_webhooks, replay_events


@flow(name="apply-webhooks", persist_result=False)
def apply_webhooks() -> dict[str, int]:
    """Runs every minute: what waits in the inbox, then events that could not be applied before, then what is too old to keep."""
    return {"applied": apply_inbox(), "replayed": replay_events(), "forgotten": forget_webhooks()}
