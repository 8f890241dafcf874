"""What the operator looks at."""

from typing import Self

from api.schemas.base import Output
from db.queries.overview import Overview, Waiting
from db.states import ExecutionState


class WaitingOut(Output):
    """How many wait, and for how long the oldest of them does; null when nothing waits."""

    count: int
    oldest_seconds: float | None


class UnclaimedOut(Output):
    """An execution that no worker has shown a sign of life for in so many seconds."""

    execution_id: int
    state: ExecutionState
    seconds: float


class WebhooksOut(Output):
    """The inbox by state (received: not applied yet; failed: to be tried again), the webhooks of the last minute and their
    seconds from received to applied, and the events that could not be applied, by problem."""

    inbox: dict[str, WaitingOut]
    applied_lately: int
    mean_lag_seconds: float
    max_lag_seconds: float
    open_events: dict[str, int]


class OverviewOut(Output):
    """Counts and ages by the database's clock. `unclaimed` are the executions that are due and that nobody has worked on for
    `unclaimed_seconds`, the longest waiting first, up to 100; `expired_batches` are those whose worker died while sending."""

    executions: dict[str, int]
    queued: WaitingOut
    unclaimed_seconds: int
    unclaimed: list[UnclaimedOut]
    expired_batches: int
    unknown_messages: WaitingOut
    webhooks: WebhooksOut
    failed_jobs: dict[str, int]
    imports: dict[str, WaitingOut]
    bulk_operations: dict[str, WaitingOut]

    @classmethod
    def of(cls, overview: Overview, unclaimed_seconds: int) -> Self:
        lately = overview.applied_lately
        return cls(
            executions=dict(overview.executions),
            queued=_waiting(overview.queued),
            unclaimed_seconds=unclaimed_seconds,
            unclaimed=[UnclaimedOut.model_validate(each) for each in overview.unclaimed],
            expired_batches=overview.expired_batches,
            unknown_messages=_waiting(overview.unknown),
            webhooks=WebhooksOut(
                inbox={state: _waiting(each) for state, each in overview.inbox.items()},
                applied_lately=lately.count,
                mean_lag_seconds=lately.mean_seconds,
                max_lag_seconds=lately.max_seconds,
                open_events=dict(overview.webhook_events),
            ),
            failed_jobs=dict(overview.failed_jobs),
            imports={state: _waiting(each) for state, each in overview.imports.items()},
            bulk_operations={state: _waiting(each) for state, each in overview.bulk_operations.items()},
        )


def _waiting(found: Waiting) -> WaitingOut:
    return WaitingOut.model_validate(found)
