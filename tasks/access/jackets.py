"""Prefect's view of who may come in, and of who signs up."""

from datetime import timedelta

from prefect import task

from db.engine import get_database
from db.queries.idempotency import delete_old_keys
from settings import get_settings
from tasks.access.audit import seal_entries

KEYS_KEPT = timedelta(hours=24)
_AT_A_TIME = 1_000


@task(name="seal-audit", persist_result=False)
def seal_audit() -> int:
    """Seal the entries of the audit log that are old enough; returns how many."""
    return seal_entries(get_database(), get_settings())


@task(name="forget-keys", persist_result=False)
def forget_keys() -> int:
    """Forget idempotency keys after a day; returns how many."""
    database, deleted = get_database(), 0
    while some := database.run(lambda s: delete_old_keys(s, older_than=KEYS_KEPT, limit=_AT_A_TIME)):
        deleted += some
    return deleted
