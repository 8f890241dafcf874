"""The Prefect flow that applies webhooks which were received but not applied, after a crash for example."""

from prefect import flow

from tasks.feedback.jackets import apply_inbox


@flow(name="apply-webhooks", persist_result=False)
def apply_webhooks() -> dict[str, int]:
    return {"applied": apply_inbox()}
