"""Marketing flows and their steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.dialect import utc_now
from db.errors import Conflict, Invalid, NotFound
from db.models import ClientList, Flow, FlowExecution, FlowSchedule, FlowStep, Template, TemplateVersion
from db.queries.pages import Page, page_of
from db.states import Channel, FlowState, StepKind


@dataclass(frozen=True)
class StepInput:
    """A step as it is given: its kind and, for a send step, the template."""

    kind: StepKind
    template_id: int


def get_flow(session: Session, flow_id: int) -> Flow:
    found = session.get(Flow, flow_id)
    if found is None:
        raise NotFound("flow", flow_id)
    return found


def lock_flow(session: Session, flow_id: int) -> Flow:
    """The flow as it is now, locked until the transaction ends, so that what is checked is what is changed."""
    found = session.scalars(
        select(Flow).where(Flow.id == flow_id).with_for_update().execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound("flow", flow_id)
    return found


def list_flows(session: Session, *, after: int, limit: int, state: FlowState | None = None) -> Page[Flow]:
    query = select(Flow)
    if state is not None:
        query = query.where(Flow.state == state)
    return page_of(session, query, Flow.id, after=after, limit=limit)


def list_flow_steps(session: Session, flow_id: int) -> Sequence[FlowStep]:
    return session.scalars(
        select(FlowStep).where(FlowStep.flow_id == flow_id).order_by(FlowStep.position)
    ).all()


def find_channel(session: Session, flow_id: int) -> Channel | None:
    """The channel of the flow's first send step; None for a flow without one."""
    return session.scalars(
        select(Template.channel)
        .join(FlowStep, FlowStep.template_id == Template.id)
        .where(FlowStep.flow_id == flow_id, FlowStep.kind == StepKind.SEND)
        .order_by(FlowStep.position)
        .limit(1)
    ).one_or_none()


def list_send_steps(session: Session, flow_id: int) -> Sequence[tuple[FlowStep, Template, TemplateVersion]]:
    """The send steps that have a template, in order, each with the version of it that would be sent now."""
    is_current = and_(
        TemplateVersion.template_id == Template.id, TemplateVersion.version == Template.current_version
    )
    rows = session.execute(
        select(FlowStep, Template, TemplateVersion)
        .join(Template, Template.id == FlowStep.template_id)
        .join(TemplateVersion, is_current)
        .where(FlowStep.flow_id == flow_id, FlowStep.kind == StepKind.SEND)
        .order_by(FlowStep.position)
    )
    return rows.tuples().all()


def list_steps_of(session: Session, flow_ids: Sequence[int]) -> dict[int, list[FlowStep]]:
    """The steps of several flows, each in order."""
    found: dict[int, list[FlowStep]] = {}
    query = (
        select(FlowStep).where(FlowStep.flow_id.in_(flow_ids)).order_by(FlowStep.flow_id, FlowStep.position)
    )
    for step in session.scalars(query):
        found.setdefault(step.flow_id, []).append(step)
    return found


def find_channels(session: Session, flow_ids: Sequence[int]) -> dict[int, Channel]:
    """The channel of the first send step of each flow that has one."""
    rows = session.execute(
        select(FlowStep.flow_id, Template.channel)
        .join(Template, Template.id == FlowStep.template_id)
        .where(FlowStep.flow_id.in_(flow_ids), FlowStep.kind == StepKind.SEND)
        .order_by(FlowStep.flow_id, FlowStep.position.desc())
    )
    return {row[0]: row[1] for row in rows}


def find_archived_template(session: Session, flow_id: int) -> int | None:
    """A template that the flow would send but that was archived meanwhile, if there is one."""
    return session.scalars(
        select(Template.id)
        .join(FlowStep, FlowStep.template_id == Template.id)
        .where(FlowStep.flow_id == flow_id, Template.archived_at.is_not(None))
        .limit(1)
    ).one_or_none()


def find_sender(session: Session, template_id: int) -> dict[str, Any]:
    """The sender of the newest flow that uses the template; empty when none does."""
    sender = session.scalars(
        select(Flow.sender)
        .join(FlowStep, FlowStep.flow_id == Flow.id)
        .where(FlowStep.template_id == template_id)
        .order_by(Flow.id.desc())
        .limit(1)
    ).one_or_none()
    return dict(sender or {})


def insert_flow(session: Session, values: Mapping[str, Any], steps: Sequence[StepInput]) -> Flow:
    """A new draft.

    Raises:
        Invalid: a list or template that does not exist.
        Conflict: the name is taken.
    """
    _check_list(session, values.get("client_list_id"))
    flow = Flow(**values)
    _store(session, flow, {})
    replace_steps(session, flow.id, steps)
    return flow


def update_flow(
    session: Session, flow_id: int, values: Mapping[str, Any], steps: Sequence[StepInput] | None
) -> Flow:
    """Change a flow; executions that exist keep what they started with. Prefect's copy is out of date from then on.

    Raises:
        NotFound: there is no such flow.
        Invalid, Conflict: as for `insert_flow`.
    """
    flow = lock_flow(session, flow_id)
    if "client_list_id" in values:
        _check_list(session, values["client_list_id"])
    _store(session, flow, {**values, "deployment_synced_at": None, "updated_at": utc_now()})
    if steps is not None:
        replace_steps(session, flow_id, steps)
    return flow


def replace_steps(session: Session, flow_id: int, steps: Sequence[StepInput]) -> None:
    """Give the flow these steps in place of those it has. Raises Invalid for a template that cannot be used."""
    for number, step in enumerate(steps):
        # Locked, so that nobody archives it before the step is there to be seen.
        template = session.get(Template, step.template_id, with_for_update=True)
        if template is None or template.archived_at is not None:
            raise Invalid(f"steps.{number}.template_id", f"template {step.template_id} does not exist")
    session.execute(delete(FlowStep).where(FlowStep.flow_id == flow_id))
    session.add_all(
        FlowStep(flow_id=flow_id, position=number, kind=step.kind, template_id=step.template_id)
        for number, step in enumerate(steps, start=1)
    )
    session.flush()


def set_flow_state(session: Session, flow_id: int, state: FlowState) -> Flow:
    """Move a flow to a state; whether it may be there is decided by the caller, behind `lock_flow`."""
    flow = lock_flow(session, flow_id)
    flow.state = state
    flow.deployment_synced_at = None
    session.flush()
    return flow


def delete_flow(session: Session, flow_id: int) -> None:
    """Delete a flow that never ran.

    Raises:
        Conflict: it has executions, which are kept; archive it instead.
    """
    lock_flow(session, flow_id)
    if session.scalar(select(exists().where(FlowExecution.flow_id == flow_id))):
        raise Conflict("the flow has executions, which are kept; archive it instead")
    session.execute(delete(FlowSchedule).where(FlowSchedule.flow_id == flow_id))
    session.execute(delete(FlowStep).where(FlowStep.flow_id == flow_id))
    session.execute(delete(Flow).where(Flow.id == flow_id))


def _check_list(session: Session, list_id: int | None) -> None:
    if list_id is not None and session.get(ClientList, list_id) is None:
        raise Invalid("client_list_id", f"client list {list_id} does not exist")


def _store(session: Session, flow: Flow, changes: Mapping[str, Any]) -> None:
    """Apply the changes and write the flow. Behind a savepoint: a conflict leaves the session usable."""
    name = changes.get("name", flow.name)
    try:
        with session.begin_nested():
            for column, value in changes.items():
                setattr(flow, column, value)
            session.add(flow)
            session.flush()
    except IntegrityError as error:
        if session.scalar(select(exists().where(Flow.name == name))):
            raise Conflict(f"a flow named '{name}' exists already", "name") from error
        raise Conflict("the client list was deleted meanwhile", "client_list_id") from error
