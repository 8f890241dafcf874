"""Messages whose outcome is unknown: how many, which, and the decisions about them that only people take."""

from collections.abc import Iterator
from datetime import timedelta

from fastapi import APIRouter, BackgroundTasks
from fastapi.responses import StreamingResponse

from api.abilities import Ability, needs
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, PageDep, SettingsDep
from api.errors import responses
from api.schemas.base import PageOut
from api.schemas.unknown import ApprovalOut, DecidedOut, DecisionIn, UnknownOut
from db.engine import Database
from db.queries import unknown
from db.queries.approvals import list_approvals
from db.queries.executions import get_execution
from db.queries.unknown import Decision
from settings import Settings
from tasks.access.callers import Caller
from tasks.orchestration.sync import dispatch_execution
from tasks.spreadsheets import BYTE_ORDER_MARK, csv_lines

router = APIRouter(prefix="/api/flow-executions", tags=["flow executions"])

_CSV_PAGE = 1000
_CSV_HEADER = (
    "message_id",
    "reference",
    "client_id",
    "address",
    "step",
    "batch_id",
    "unknown_since",
    "error",
)


@router.get(
    "/{execution_id}/unknown", responses=responses(404), dependencies=[needs(Ability.EXECUTIONS_READ)]
)
def get_unknown(database: DatabaseDep, settings: SettingsDep, execution_id: ItemId) -> UnknownOut:
    """How many messages have an unknown outcome, and how old they are. `messages?state=unknown` lists them."""
    with database.reading() as session:
        get_execution(session, execution_id)
        found = unknown.count_unknown(session, execution_id, window=_window(settings))
    return UnknownOut(execution_id=execution_id, **vars(found))


@router.get(
    "/{execution_id}/unknown/export",
    responses=responses(404),
    response_class=StreamingResponse,
    dependencies=[needs(Ability.EXECUTIONS_EXPORT)],
)
def export_unknown(database: DatabaseDep, execution_id: ItemId) -> StreamingResponse:
    """All of them as CSV, for asking the provider, for example."""
    with database.reading() as session:
        uid = get_execution(session, execution_id).uid
    return StreamingResponse(
        _csv(database, execution_id, uid),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="execution-{execution_id}-unknown.csv"'},
    )


@router.post(
    "/{execution_id}/unknown/resend",
    responses=responses(404, 409),
    dependencies=[needs(Ability.EXECUTIONS_RESEND)],
)
def resend_unknown(
    database: DatabaseDep,
    settings: SettingsDep,
    caller: CurrentCaller,
    background: BackgroundTasks,
    execution_id: ItemId,
    body: DecisionIn | None = None,
) -> DecidedOut:
    """Send again what may have been sent: some clients may get it twice. Kept with the token's name and the time.

    409 as long as evidence may still come (`ICS_EVIDENCE_WINDOW_HOURS`), unless the body says otherwise.
    """
    decision = _decision(caller, body)
    decided = database.run(
        lambda s: unknown.resend_unknown(s, execution_id, decision, window=_window(settings))
    )
    if decided.messages:
        background.add_task(dispatch_execution, database, execution_id)
    return DecidedOut.model_validate(decided)


@router.post(
    "/{execution_id}/unknown/close",
    responses=responses(404, 409),
    dependencies=[needs(Ability.EXECUTIONS_RESEND)],
)
def close_unknown(
    database: DatabaseDep,
    settings: SettingsDep,
    caller: CurrentCaller,
    execution_id: ItemId,
    body: DecisionIn | None = None,
) -> DecidedOut:
    """Write off what may have been sent: the messages fail as `unresolved`. Kept with the token's name and the time.

    409 as long as evidence may still come (`ICS_EVIDENCE_WINDOW_HOURS`), unless the body says otherwise.
    """
    decision = _decision(caller, body)
    return DecidedOut.model_validate(
        database.run(lambda s: unknown.close_unknown(s, execution_id, decision, window=_window(settings)))
    )


@router.get(
    "/{execution_id}/approvals", responses=responses(404), dependencies=[needs(Ability.EXECUTIONS_READ)]
)
def list_execution_approvals(
    database: DatabaseDep, execution_id: ItemId, page: PageDep
) -> PageOut[ApprovalOut]:
    """Who approved what, and when."""
    with database.reading() as session:
        get_execution(session, execution_id)
        return PageOut[ApprovalOut].of(
            list_approvals(session, execution_id, after=page.cursor, limit=page.limit)
        )


def _window(settings: Settings) -> timedelta:
    return timedelta(hours=settings.evidence_window_hours)


def _decision(caller: Caller, body: DecisionIn | None) -> Decision:
    return Decision(caller.name, caller.id, (body or DecisionIn()).before_evidence_window)


def _csv(database: Database, execution_id: int, uid: str) -> Iterator[str]:
    yield BYTE_ORDER_MARK + csv_lines([_CSV_HEADER])
    after: int | None = 0
    while after is not None:
        with database.reading() as session:
            page = unknown.list_unknown(session, execution_id, after=after, limit=_CSV_PAGE)
        yield csv_lines(
            (
                row.id,
                f"{uid}-{row.id}",
                row.client_id,
                row.address,
                row.step,
                row.batch_id,
                row.since.isoformat(),
                row.error,
            )
            for row in page.items
        )
        after = page.next_cursor
