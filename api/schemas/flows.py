"""Marketing flows, their schedules and their executions."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, StringConstraints

from api.schemas.base import ONE_LINE, Email, Id, Input, Moment, Name, Output, SenderId
from db.models import Flow, FlowStep
from db.states import Channel, FlowState, MissedPolicy, ScheduleKind, StepKind, UnsubscribeScope


class SenderIn(Input):
    """Who it comes from: `from_email` for email; `sender_id` (11 letters and digits, or a number) for SMS."""

    from_email: Email | None = None
    from_name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=100), ONE_LINE] | None = (
        None
    )
    reply_to: Email | None = None
    sender_id: SenderId | None = None


def _only_send(kind: StepKind | str) -> StepKind:
    if kind != StepKind.SEND:
        raise ValueError("only send steps exist so far")
    return StepKind.SEND


def _at_most_one(steps: Any) -> Any:
    if isinstance(steps, list) and len(steps) > 1:
        raise ValueError("a flow has one step so far: a send step")
    return steps


class StepIn(Input):
    """One action of a flow. So far every flow is a campaign: exactly one send step."""

    kind: Annotated[StepKind, BeforeValidator(_only_send)] = StepKind.SEND
    template_id: Id


Steps = Annotated[list[StepIn], BeforeValidator(_at_most_one), Field(max_length=1)]


Topic = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    ONE_LINE,
    Field(description="What receivers call it on their preference page; without one it is not shown there."),
]


class FlowIn(Input):
    """A draft needs no more than a name; to be activated it needs a list, a step and a sender.

    `unsubscribe_scope` is what one click in its messages ends: everything, or this flow.
    """

    name: Name
    client_list_id: Id | None = None
    steps: Steps = []
    sender: SenderIn = SenderIn()
    requires_consent: StrictBool = False
    topic: Topic | None = None
    unsubscribe_scope: UnsubscribeScope = UnsubscribeScope.EVERYWHERE


class FlowPatch(FlowIn):
    """The fields to change; those left out stay as they are. Executions that exist keep what they started with."""

    name: Name = ""


class StepOut(Output):
    id: int
    position: int
    kind: StepKind
    template_id: int | None


class FlowOut(Output):
    id: int
    name: str
    state: FlowState
    channel: Channel | None
    client_list_id: int | None
    steps: list[StepOut]
    sender: dict[str, str | None]
    requires_consent: bool
    topic: str | None
    unsubscribe_scope: UnsubscribeScope
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, flow: Flow, steps: list[FlowStep], channel: Channel | None) -> "FlowOut":
        return cls(
            id=flow.id,
            name=flow.name,
            state=flow.state,
            channel=channel,
            client_list_id=flow.client_list_id,
            steps=[StepOut.model_validate(step) for step in steps],
            sender=flow.sender,
            requires_consent=flow.requires_consent,
            topic=flow.topic,
            unsubscribe_scope=flow.unsubscribe_scope,
            created_at=flow.created_at,
            updated_at=flow.updated_at,
        )


class ScheduleIn(Input):
    """When a flow is sent by itself.

    `once`: an ISO 8601 moment; `cron`: five fields; `rrule`: RFC 5545. All are read on the wall clock of `time_zone`.
    `missed_policy` says what happens to a send whose moment fell into an outage.
    """

    kind: ScheduleKind
    expression: Annotated[str, Field(min_length=1, max_length=500, examples=["0 9 * * MON"])]
    time_zone: Annotated[str, Field(max_length=64, examples=["Europe/Dublin"])]
    starts_at: Moment | None = None
    missed_policy: MissedPolicy = MissedPolicy.SEND
    active: bool = True


class ScheduleOut(Output):
    kind: ScheduleKind
    expression: str
    time_zone: str
    starts_at: datetime | None
    missed_policy: MissedPolicy
    active: bool
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_skipped_at: datetime | None
