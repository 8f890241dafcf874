"""Raw webhooks are kept for a while, so that their events can be read again; then what they said is in the events."""

from datetime import timedelta

from db.engine import Database
from db.queries.webhooks import delete_old_deliveries

_AT_A_TIME = 200


def forget_old(database: Database, *, older_than: timedelta, most: int = 20_000) -> int:
    """Delete applied webhooks that are older, in short transactions; returns how many."""
    deleted = 0
    while deleted < most:
        some = database.run(
            lambda session: delete_old_deliveries(session, older_than=older_than, limit=_AT_A_TIME)
        )
        deleted += some
        if some < _AT_A_TIME:
            break
    return deleted
