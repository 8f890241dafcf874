"""Flow executions, their counts and their messages."""

from datetime import datetime

from api.schemas.base import Output
from api.schemas.statistics import StatsBlocks
from db.models import Flow, FlowExecution, Message, Stats
from db.states import Channel, ExecutionState, Feedback, MessageState
from tasks.orchestration.prefect_api import run_url


class CountsOut(Output):
    """Messages per state; their sum is `intended`."""

    intended: int
    pending: int
    excluded: int
    sending: int
    accepted: int
    failed: int
    unknown: int
    cancelled: int


class ExecutionOut(Output):
    """`counts` is null until the snapshot of the audience is made. `prefect_url` is the run's page in Prefect.

    `warning` says that there are too many complaints or bounces. While `is_guarded`, far too many of them pause the execution.
    """

    id: int
    uid: str
    flow_id: int
    flow_name: str
    state: ExecutionState
    reason: str | None
    warning: str | None
    is_guarded: bool
    scheduled_for: datetime | None
    counts: CountsOut | None
    prefect_url: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, execution: FlowExecution, flow: Flow, stats: Stats | None) -> "ExecutionOut":
        run_id = execution.prefect_flow_run_id
        return cls(
            id=execution.id,
            uid=execution.uid,
            flow_id=flow.id,
            flow_name=flow.name,
            state=execution.state,
            reason=execution.reason,
            warning=execution.warning,
            is_guarded=execution.is_guarded,
            scheduled_for=execution.scheduled_for,
            counts=CountsOut.model_validate(stats) if stats else None,
            prefect_url=run_url(run_id) if run_id else None,
            created_at=execution.created_at,
            started_at=execution.started_at,
            finished_at=execution.finished_at,
        )


class ExecutionItem(Output):
    """An execution in a list."""

    id: int
    uid: str
    flow_id: int
    state: ExecutionState
    reason: str | None
    warning: str | None
    scheduled_for: datetime | None
    created_at: datetime
    finished_at: datetime | None


class ExecutionStats(StatsBlocks):
    """Counts of an execution: `messages`, `sms` and `exclusions` as they are stored, the other blocks the same in groups.

    `is_equal_to_recount` is null unless `verify=true` asked for a recount of the ledger.
    `oldest_unknown_seconds` is the age of the oldest message whose outcome is unknown. `webhooks_waiting` are webhooks of
    all executions that are stored but not applied yet.
    """

    execution_id: int
    messages: dict[str, int]
    sms: dict[str, int]
    exclusions: dict[str, int]
    oldest_unknown_seconds: float | None
    webhooks_waiting: int
    is_equal_to_recount: bool | None


class MessageOut(Output):
    """One row of the ledger: why a client did or did not get this. `step` is the position of the flow's step, `reference`
    what providers know the message by, `feedback` what they reported."""

    id: int
    reference: str
    execution_id: int
    flow_id: int
    step: int
    client_id: int
    channel: Channel
    address: str | None
    state: MessageState
    reason: str | None
    feedback: list[str]
    parts: int | None

    @classmethod
    def of(cls, message: Message, *, uid: str, flow_id: int, step: int) -> "MessageOut":
        return cls(
            id=message.id,
            reference=f"{uid}-{message.id}",
            execution_id=message.execution_id,
            flow_id=flow_id,
            step=step,
            client_id=message.client_id,
            channel=message.channel,
            address=message.address,
            state=message.state,
            reason=message.reason,
            feedback=Feedback(message.feedback).words,
            parts=message.parts,
        )
