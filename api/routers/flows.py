"""Marketing flows: create, change, activate, archive."""

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Query

from api.abilities import Ability, needs
from api.dependencies import DatabaseDep, ItemId, PageDep
from api.errors import FieldError, FlowIncomplete, responses
from api.etags import MatchDep
from api.schemas.base import PageOut
from api.schemas.flows import FlowIn, FlowOut, FlowPatch, StepIn
from db.engine import Session
from db.models import Flow
from db.queries import flows
from db.queries.flows import StepInput
from db.states import FlowState
from tasks.orchestration.sync import sync_flow
from tasks.sending.readiness import Missing, misfits_of, missing_of

router = APIRouter(prefix="/api/flows", tags=["flows"])


@router.post("", status_code=201, responses=responses(409), dependencies=[needs(Ability.FLOWS_WRITE)])
def create_flow(database: DatabaseDep, body: FlowIn) -> FlowOut:
    """Create a draft. It can be sent once it is activated."""
    values = _values(body)
    steps = _steps(body.steps)

    def work(session: Session) -> FlowOut:
        flow = _out(session, flows.insert_flow(session, values, steps))
        _require_fitting(flow)
        return flow

    return database.run(work)


@router.get("", dependencies=[needs(Ability.FLOWS_READ)])
def list_flows(
    database: DatabaseDep, page: PageDep, state: Annotated[FlowState | None, Query()] = None
) -> PageOut[FlowOut]:
    with database.reading() as session:
        found = flows.list_flows(session, after=page.cursor, limit=page.limit, state=state)
        ids = [flow.id for flow in found.items]
        steps, channels = flows.list_steps_of(session, ids), flows.find_channels(session, ids)
    items = [FlowOut.of(flow, steps.get(flow.id, []), channels.get(flow.id)) for flow in found.items]
    return PageOut[FlowOut](items=items, next_cursor=found.next_cursor)


@router.get("/{flow_id}", responses=responses(404), dependencies=[needs(Ability.FLOWS_READ)])
def get_flow(database: DatabaseDep, match: MatchDep, flow_id: ItemId) -> FlowOut:
    """The flow with its steps, and the channel of what it sends."""
    with database.reading() as session:
        return match.tag(_out(session, flows.get_flow(session, flow_id)))


@router.patch("/{flow_id}", responses=responses(404, 409), dependencies=[needs(Ability.FLOWS_WRITE)])
def update_flow(
    database: DatabaseDep, match: MatchDep, background: BackgroundTasks, flow_id: ItemId, body: FlowPatch
) -> FlowOut:
    """Change a flow. Executions that exist keep what they started with."""
    given = body.model_fields_set
    values = {name: value for name, value in _values(body).items() if name in given}
    steps = _steps(body.steps) if "steps" in given else None

    def work(session: Session) -> FlowOut:
        match.require(
            session,
            Flow,
            Flow.id == flow_id,
            as_it_is=lambda: _out(session, flows.get_flow(session, flow_id)),
        )
        flow = _out(session, flows.update_flow(session, flow_id, values, steps))
        if flow.state is FlowState.ACTIVE:
            _require_complete(session, flow)
        else:
            _require_fitting(flow)
        return flow

    changed = database.run(work)
    background.add_task(sync_flow, database, flow_id)
    return match.tag(changed)


@router.delete(
    "/{flow_id}", status_code=204, responses=responses(404, 409), dependencies=[needs(Ability.FLOWS_DELETE)]
)
def delete_flow(database: DatabaseDep, background: BackgroundTasks, flow_id: ItemId) -> None:
    """Delete a flow that never ran; archive one that did."""
    database.run(lambda s: flows.delete_flow(s, flow_id))
    background.add_task(sync_flow, database, flow_id)


@router.post("/{flow_id}/activate", responses=responses(404), dependencies=[needs(Ability.FLOWS_WRITE)])
def activate_flow(database: DatabaseDep, background: BackgroundTasks, flow_id: ItemId) -> FlowOut:
    """Let the flow be sent and scheduled; it gets a deployment of its own in Prefect."""

    def work(session: Session) -> FlowOut:
        _require_complete(session, _out(session, flows.lock_flow(session, flow_id)))
        return _out(session, flows.set_flow_state(session, flow_id, FlowState.ACTIVE))

    activated = database.run(work)
    background.add_task(sync_flow, database, flow_id)
    return activated


@router.post("/{flow_id}/archive", responses=responses(404), dependencies=[needs(Ability.FLOWS_WRITE)])
def archive_flow(database: DatabaseDep, background: BackgroundTasks, flow_id: ItemId) -> FlowOut:
    """Take the flow out of use; its executions stay, and those that run go on. It may be activated again."""
    archived = database.run(lambda s: _out(s, flows.set_flow_state(s, flow_id, FlowState.ARCHIVED)))
    background.add_task(sync_flow, database, flow_id)
    return archived


def _out(session: Session, flow: Flow) -> FlowOut:
    steps = flows.list_flow_steps(session, flow.id)
    return FlowOut.of(flow, list(steps), flows.find_channel(session, flow.id))


def _require_complete(session: Session, flow: FlowOut) -> None:
    missing = missing_of(
        channel=flow.channel,
        client_list_id=flow.client_list_id,
        sender=flow.sender,
        archived_template=flows.find_archived_template(session, flow.id),
    )
    _refuse(missing, "the flow is not complete; see errors")


def _require_fitting(flow: FlowOut) -> None:
    """A draft may lack anything, but nothing in it may contradict its channel."""
    if flow.channel is not None:
        _refuse(misfits_of(flow.channel, flow.sender), "the sender does not fit the template; see errors")


def _refuse(found: list[Missing], detail: str) -> None:
    if found:
        raise FlowIncomplete(
            detail, [FieldError(field=f"body.{item.field}", message=item.message) for item in found]
        )


def _values(body: FlowIn) -> dict[str, Any]:
    values = body.model_dump(exclude={"steps", "sender"})
    return values | {"sender": body.sender.model_dump(exclude_none=True)}


def _steps(steps: list[StepIn]) -> list[StepInput]:
    return [StepInput(step.kind, step.template_id) for step in steps]
