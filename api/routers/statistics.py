"""Executions over time, by link and by domain, and side by side; each as JSON or as CSV (`?format=csv`)."""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.abilities import Ability, needs
from api.dependencies import MAX_PAGE, DatabaseDep, ItemId, PageDep, SettingsDep
from api.errors import bad_parameter, responses
from api.schemas.base import Moment, PageOut
from api.schemas.statistics import (
    AllLinksOut,
    ComparedOut,
    DomainOut,
    DomainsOut,
    LinkOut,
    LinksOut,
    PointOut,
    RestOut,
    SeriesOut,
    compared_out,
)
from api.statistics_csv import comparison_csv, domains_csv, links_csv, series_csv
from db.dialect import time_limit
from db.engine import Database
from db.queries.comparison import list_compared
from db.queries.domains import list_domains
from db.queries.executions import get_execution
from db.queries.flows import get_flow
from db.queries.link_clicks import LinkKey, count_links, list_links
from db.queries.series import Interval, list_series
from db.queries.stats import ACCEPTED_MINUTE
from settings import Settings
from tasks.providers.events import EventKind

router = APIRouter(tags=["statistics"])

MAX_POINTS = 2000
MAX_GROUPS = 1000
_KINDS = (ACCEPTED_MINUTE, *(kind.value for kind in EventKind))
# Every database can store and compute with these; nothing was sent before or will be after them.
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class StatisticsFormat(StrEnum):
    JSON = "json"
    CSV = "csv"


Format = Annotated[StatisticsFormat, Query(alias="format", description="`csv` answers with a file.")]
Kind = EventKind | Literal["accepted"]
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}}}


@router.get(
    "/api/flow-executions/{execution_id}/series",
    response_model=SeriesOut,
    responses={**_CSV, **responses(404)},
    dependencies=[needs(Ability.EXECUTIONS_READ)],
)
def get_series(
    database: DatabaseDep,
    execution_id: ItemId,
    by: Annotated[Interval, Query(description="Hours and days are those of UTC.")] = Interval.HOUR,
    kind: Annotated[
        list[Kind] | None,
        Query(
            max_length=50,
            description="Only these; may be given several times. `accepted` is what providers took.",
        ),
    ] = None,
    since: Annotated[Moment | None, Query(alias="from", description="The first moment.")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="The first moment after it.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_POINTS)] = 500,
    cursor: Annotated[int, Query(ge=0, le=2**33, description="The `next_cursor` of the page before.")] = 0,
    as_format: Format = StatisticsFormat.JSON,
) -> SeriesOut | StreamingResponse:
    """What happened when: events by kind, and what providers accepted, for each minute, hour or day that had any."""
    start, end = _moment(since, "from"), _moment(until, "to")
    kinds = [each.value if isinstance(each, EventKind) else each for each in kind or ()]
    with database.reading() as session:
        get_execution(session, execution_id)

    def read(after: int | None, most: int = MAX_POINTS) -> SeriesOut:
        return _read_series(database, execution_id, by, kinds, (start, end), after, most)

    if as_format is StatisticsFormat.CSV:
        lines = series_csv(lambda after: read(cursor if after is None else after), kinds or _KINDS)
        return _file(lines, f"execution-{execution_id}-by-{by}")
    return read(cursor, limit)


@router.get(
    "/api/flow-executions/{execution_id}/links",
    response_model=LinksOut,
    responses={**_CSV, **responses(404, 503)},
    dependencies=[needs(Ability.EXECUTIONS_READ)],
)
def get_links(
    database: DatabaseDep,
    settings: SettingsDep,
    execution_id: ItemId,
    by: Annotated[
        LinkKey, Query(description="`page` takes links as one that differ in query and fragment only.")
    ] = LinkKey.URL,
    limit: Annotated[int, Query(ge=1, le=MAX_GROUPS)] = 100,
    as_format: Format = StatisticsFormat.JSON,
) -> LinksOut | StreamingResponse:
    """The links that were clicked most, people and machines apart."""
    with (
        database.reading() as session,
        time_limit(session, "counting the clicks", settings.list_count_seconds),
    ):
        get_execution(session, execution_id)
        found = list_links(session, execution_id, by=by, limit=limit)
        total = count_links(session, execution_id, by=by)
    answer = LinksOut(
        items=[LinkOut.model_validate(each) for each in found], all=AllLinksOut.model_validate(total)
    )
    if as_format is StatisticsFormat.CSV:
        # As it is shown: links may be cut for whoever is asking.
        shown = LinksOut.model_validate(answer.model_dump())
        return _file(links_csv(shown), f"execution-{execution_id}-links")
    return answer


@router.get(
    "/api/flow-executions/{execution_id}/domains",
    response_model=DomainsOut,
    responses={**_CSV, **responses(404, 503)},
    dependencies=[needs(Ability.EXECUTIONS_READ)],
)
def get_domains(
    database: DatabaseDep,
    settings: SettingsDep,
    execution_id: ItemId,
    limit: Annotated[int, Query(ge=1, le=MAX_GROUPS)] = 20,
    as_format: Format = StatisticsFormat.JSON,
) -> DomainsOut | StreamingResponse:
    """What became of the emails by the domain of their addresses, counted from the ledger now: seconds for a million messages."""
    with (
        database.reading() as session,
        time_limit(session, "counting the domains", settings.list_count_seconds),
    ):
        get_execution(session, execution_id)
        found = list_domains(session, execution_id, limit=limit)
    answer = DomainsOut(
        items=[DomainOut(domain=each.domain or "", **each.counts) for each in found.items],
        rest=RestOut(domains=found.rest_count, **found.rest.counts),
    )
    if as_format is StatisticsFormat.CSV:
        return _file(domains_csv(answer), f"execution-{execution_id}-domains")
    return answer


@router.get(
    "/api/flows/{flow_id}/comparison",
    response_model=PageOut[ComparedOut],
    responses={**_CSV, **responses(404)},
    dependencies=[needs(Ability.EXECUTIONS_READ)],
)
def compare_executions(
    database: DatabaseDep,
    settings: SettingsDep,
    flow_id: ItemId,
    page: PageDep,
    as_format: Format = StatisticsFormat.JSON,
) -> PageOut[ComparedOut] | StreamingResponse:
    """The executions of a flow side by side, in the order in which they were made."""
    with database.reading() as session:
        get_flow(session, flow_id)
    if as_format is StatisticsFormat.CSV:
        lines = comparison_csv(
            lambda after: _compare(
                database, settings, flow_id, page.cursor if after is None else after, MAX_PAGE
            )
        )
        return _file(lines, f"flow-{flow_id}-comparison")
    return _compare(database, settings, flow_id, page.cursor, page.limit)


def _read_series(
    database: Database,
    execution_id: int,
    by: Interval,
    kinds: list[str],
    span: tuple[datetime | None, datetime | None],
    cursor: int | None,
    limit: int,
) -> SeriesOut:
    """A cursor is the second in which the next point begins."""
    start, end = span
    if cursor:
        behind = datetime.fromtimestamp(cursor, UTC)
        start = behind if start is None else max(start, behind)
    with database.reading() as session:
        found = list_series(
            session, execution_id, by=by, limit=limit + 1, since=start, until=end, kinds=kinds
        )
    points = found[:limit]
    following = int((points[-1].at + by.length).timestamp()) if len(found) > limit else None
    return SeriesOut(items=[PointOut.model_validate(each) for each in points], next_cursor=following)


def _compare(
    database: Database, settings: Settings, flow_id: int, after: int, limit: int
) -> PageOut[ComparedOut]:
    with database.reading() as session:
        found = list_compared(session, flow_id, after=after, limit=limit)
    price, currency = settings.sms_part_price, settings.sms_currency
    items = [compared_out(each, price=price, currency=currency) for each in found.items]
    return PageOut[ComparedOut](items=items, next_cursor=found.next_cursor)


def _moment(moment: datetime | None, name: str) -> datetime | None:
    if moment is not None and not _FIRST <= moment <= _LAST:
        raise bad_parameter(name, f"must be from {_FIRST:%Y} to {_LAST:%Y}")
    return moment


def _file(lines: Iterator[str], name: str) -> StreamingResponse:
    filename = f"{name}-{datetime.now(UTC):%Y-%m-%d-%H%M%S}.csv"
    return StreamingResponse(
        lines,
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )
