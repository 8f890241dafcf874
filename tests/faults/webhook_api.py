"""The API as a process that is made to be killed; `ICS_WEBHOOK_SABOTAGE=acknowledge-first` breaks its inbox on purpose."""

import asyncio
import os
from typing import Final

from db.queries.webhooks import NewDelivery
from deployments.api_server import serve_api
from settings import get_settings
from tasks.feedback.inbox import Inbox

VARIABLE: Final = "ICS_WEBHOOK_SABOTAGE"
ACKNOWLEDGE_FIRST: Final = "acknowledge-first"
_LATE_SECONDS: Final = 0.2
_later: set["asyncio.Task[None]"] = set()


def acknowledge_first() -> None:
    """What many receivers do: the answer leaves, and the webhook is stored when there is time."""
    store = Inbox.store

    async def store_later(self: Inbox, delivery: NewDelivery) -> None:
        async def later() -> None:
            await asyncio.sleep(_LATE_SECONDS)
            await store(self, delivery)

        task = asyncio.create_task(later())
        _later.add(task)
        task.add_done_callback(_later.discard)

    Inbox.store = store_later  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ.get(VARIABLE) == ACKNOWLEDGE_FIRST:
        acknowledge_first()
    serve_api(get_settings())
