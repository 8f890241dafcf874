"""The Prefect flow that tells other systems what happened, and tries again what they did not take."""

from prefect import flow

from tasks.outgoing.jackets import deliver_webhooks as deliver
from tasks.outgoing.jackets import forget_told


@flow(name="deliver-webhooks", persist_result=False)
def deliver_webhooks() -> dict[str, int]:
    """Runs every minute; does nothing when nobody is to be told anything."""
    return {"delivered": deliver(), "forgotten": forget_told()}
