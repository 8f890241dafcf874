"""The Prefect flow that asks people to confirm their sign-up, where the API did not get to it."""

from prefect import flow

from tasks.cms.jackets import expire_sign_ups, send_waiting_confirmations


@flow(name="confirm-sign-ups", persist_result=False)
def confirm_sign_ups() -> dict[str, int]:
    """Runs every two minutes."""
    return {"sent": send_waiting_confirmations(), "expired": expire_sign_ups()}
