"""Raw webhooks are kept for a while, so that their events can be read again; then what they said is in the events.

Those of events that could not be read, or not be applied, are kept until a person has replayed them.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from db.engine import Database, Session
from db.queries.webhook_events import delete_closed, give_up_unmatched
from db.queries.webhooks import delete_old_deliveries

_AT_A_TIME = 200
_EVENTS_AT_A_TIME = 1_000


def forget_old(database: Database, *, older_than: timedelta, most: int = 20_000) -> int:
    """Delete applied webhooks that are older, in short transactions; returns how many.

    Events whose message never turned up are waited for no longer than that, and closed ones are forgotten with their webhooks.
    """
    for events in (give_up_unmatched, delete_closed):
        _in_pieces(database, partial(events, older_than=older_than), _EVENTS_AT_A_TIME, most)
    return _in_pieces(database, partial(delete_old_deliveries, older_than=older_than), _AT_A_TIME, most)


def _in_pieces(database: Database, work: Callable[..., int], at_a_time: int, most: int) -> int:
    def some(session: Session) -> int:
        return work(session, limit=at_a_time)

    done = 0
    while done < most:
        found = database.run(some)
        done += found
        if found < at_a_time:
            break
    return done
