"""Prefect's view of the webhooks that we send."""

from prefect import task

from db.engine import get_database
from settings import get_settings
from tasks.outgoing.delivering import deliver_due, forget_old


@task(name="deliver-webhooks", persist_result=False)
def deliver_webhooks() -> int:
    """Deliver what is due; returns how many were taken."""
    return deliver_due(get_database(), get_settings())


@task(name="forget-told", persist_result=False)
def forget_told() -> int:
    """Forget what was told a month ago; returns how many events."""
    return forget_old(get_database())
