"""Prefect's view of the CMS."""

from prefect import task

from db.engine import get_database
from settings import get_settings
from tasks.cms.sign_ups import expire_old, send_confirmations


@task(name="send-confirmations", persist_result=False)
def send_waiting_confirmations() -> int:
    """Send the confirmation mails that wait, each at most once; returns how many the provider took."""
    return send_confirmations(get_database(), get_settings())


@task(name="expire-sign-ups", persist_result=False)
def expire_sign_ups() -> int:
    """Forget sign-ups that nobody confirmed in time; returns how many."""
    return expire_old(get_database())
