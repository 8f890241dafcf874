"""The life of a bulk operation: piece by piece along the ids of the clients, each piece exactly once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Text, and_, func, or_, select, type_coerce, update
from sqlalchemy.orm import Session

from db.dialect import json_list, utc_in, utc_now
from db.errors import Conflict, NotFound
from db.models import BulkOperation, Client, FailedJob
from db.queries.bulk_changes import Change, change_clients
from db.queries.choices import Choice, condition_of
from db.queries.executions import new_uid
from db.queries.pages import Page, page_of
from db.states import BulkAction, BulkState, JobKind

PIECE_CLIENTS = 5_000
"""Clients that are walked in one transaction, whether the rule chooses them or not."""

_OPEN = (BulkState.QUEUED, BulkState.RUNNING)
_QUIET = {"synchronize_session": False}


EVERYBODY = Choice()


@dataclass(frozen=True)
class Asked:
    """What somebody wants done, to whom. `at_most` clients are changed: a deletion that finds more stops."""

    change: Change
    created_by: str
    client_ids: Sequence[int] | None = None
    choice: Choice = EVERYBODY
    at_most: int | None = None


def count_chosen(session: Session, choice: Choice) -> int:
    """How many clients it is about now; raises as `condition_of`."""
    return session.scalars(
        select(func.count()).select_from(Client).where(condition_of(session, choice))
    ).one()


def insert_operation(session: Session, asked: Asked, *, matched_count: int) -> BulkOperation:
    """A queued operation over the clients that are there now."""
    operation = _new(session, asked, matched_count=matched_count)
    operation.until_client_id = session.scalar(select(func.max(Client.id))) or 0
    session.flush()
    return get_operation(session, operation.id)


def run_selection(session: Session, asked: Asked) -> BulkOperation:
    """Change clients that were chosen by id, at once; ids that are nobody's are left out of `done_count`."""
    ids = sorted(session.scalars(select(Client.id).where(Client.id.in_(asked.client_ids or []))))
    operation = _new(session, asked, matched_count=len(ids))
    done = change_clients(session, asked.change, ids)
    operation.state = BulkState.COMPLETED
    operation.done_count, operation.changed_count, operation.skipped_count = (
        len(ids),
        done.changed,
        done.skipped,
    )
    session.flush()
    _update(session, operation.id, finished_at=utc_now())
    return get_operation(session, operation.id)


def get_operation(session: Session, operation_id: int) -> BulkOperation:
    found = session.get(BulkOperation, operation_id, populate_existing=True)
    if found is None:
        raise NotFound("bulk operation", operation_id)
    return found


def list_operations(
    session: Session, *, after: int, limit: int, state: BulkState | None = None
) -> Page[BulkOperation]:
    """In the order in which they were asked for."""
    query = select(BulkOperation)
    if state is not None:
        query = query.where(BulkOperation.state == state)
    return page_of(session, query, BulkOperation.id, after=after, limit=limit)


def start_operation(session: Session, operation_id: int) -> BulkOperation:
    """Mark a queued operation as running; one that runs already (cut, or in other hands) stays as it is."""
    _update(
        session, operation_id, BulkOperation.state.in_(_OPEN), state=BulkState.RUNNING, heartbeat_at=utc_now()
    )
    return get_operation(session, operation_id)


def advance_operation(
    session: Session, operation_id: int, *, after: int, piece: int = PIECE_CLIENTS
) -> BulkOperation:
    """Change those of the next clients whom it is about now, and move past all of them: wholly and once, or not at all.

    Raises:
        Conflict: it is not at `after`, or does not run (any more): somebody else did the piece, or it was cancelled.
        Invalid: its rule or its list is not what it was.
    """
    operation = get_operation(session, operation_id)
    last = _end_of_piece(session, after, piece, operation.until_client_id or 0)
    # Comes first, so that of two runs one waits here for the other's piece to be committed, and loses.
    moved = _update(
        session,
        operation_id,
        BulkOperation.state == BulkState.RUNNING,
        BulkOperation.last_client_id == after,
        last_client_id=last,
        idle_runs=0,
        heartbeat_at=utc_now(),
    )
    if not moved:
        raise Conflict(f"bulk operation {operation_id}: the clients after {after} are in other hands")
    ids = _ids_between(session, condition_of(session, choice_of(operation)), after, last)
    at_most = operation.arguments.get("at_most")
    if at_most is not None and operation.done_count + len(ids) > at_most:
        raise TooMany(
            f"the rule chooses more than the {at_most:,} clients that were agreed to; nobody else was changed"
        )
    done = change_clients(session, change_of(operation), ids)
    _update(
        session,
        operation_id,
        done_count=BulkOperation.done_count + len(ids),
        changed_count=BulkOperation.changed_count + done.changed,
        skipped_count=BulkOperation.skipped_count + done.skipped,
    )
    return get_operation(session, operation_id)


class TooMany(Conflict):
    """A deletion that has come to more clients than the person who asked for it expected."""


def complete_operation(session: Session, operation_id: int) -> BulkOperation:
    """All clients are walked. One that is over stays as it is."""
    _update(
        session,
        operation_id,
        BulkOperation.state == BulkState.RUNNING,
        BulkOperation.last_client_id >= BulkOperation.until_client_id,
        state=BulkState.COMPLETED,
        finished_at=utc_now(),
        error=None,
    )
    return get_operation(session, operation_id)


def cancel_operation(session: Session, operation_id: int) -> BulkOperation:
    """Stop it after the piece that is on; what was changed stays changed.

    Raises:
        NotFound: there is none.
        Conflict: it is over.
    """
    get_operation(session, operation_id)
    moved = _update(
        session,
        operation_id,
        BulkOperation.state.in_([*_OPEN, BulkState.FAILED]),
        state=BulkState.CANCELLED,
        finished_at=utc_now(),
    )
    operation = get_operation(session, operation_id)
    if not moved and operation.state is not BulkState.CANCELLED:
        raise Conflict(f"bulk operation {operation_id} is {operation.state}")
    return operation


def fail_operation(session: Session, operation_id: int, *, error: str) -> BulkOperation:
    """Give up, with a failed job for people to see; what was changed stays. One that is over stays as it is."""
    moved = _update(
        session,
        operation_id,
        BulkOperation.state.in_(_OPEN),
        state=BulkState.FAILED,
        error=error[:2000],
        finished_at=utc_now(),
    )
    if moved:
        subject = {"bulk_operation_id": operation_id}
        session.add(FailedJob(kind=JobKind.BULK_OPERATION, subject=subject, error=error[:2000]))
        session.flush()
    return get_operation(session, operation_id)


def give_up_operation(session: Session, operation_id: int, *, most_runs: int) -> bool:
    """Ask for no more runs of one that `most_runs` of them brought no further; False when one did after all."""
    operation = session.scalars(
        # Who holds the row is just committing a piece.
        select(BulkOperation).where(BulkOperation.id == operation_id).with_for_update(skip_locked=True)
    ).one_or_none()
    if operation is None or operation.idle_runs < most_runs or operation.state not in _OPEN:
        return False
    error = f"{operation.idle_runs} runs in a row ended before they changed anybody; Prefect shows why"
    fail_operation(session, operation_id, error=error)
    return True


def requeue_operation(session: Session, operation_id: int) -> BulkOperation:
    """Try a failed operation again; it goes on after the last piece that was committed.

    Raises:
        Conflict: it has not failed.
    """
    moved = _update(
        session,
        operation_id,
        BulkOperation.state == BulkState.FAILED,
        state=BulkState.QUEUED,
        error=None,
        finished_at=None,
        heartbeat_at=None,
        dispatched_at=None,
        idle_runs=0,
    )
    operation = get_operation(session, operation_id)
    if not moved:
        raise Conflict(
            f"bulk operation {operation_id} is {operation.state}; only a failed one can be tried again"
        )
    return operation


def list_undispatched(
    session: Session, *, limit: int = 100, orphan_seconds: int, grace_seconds: int = 5
) -> Sequence[int]:
    """Operations that need a Prefect run: those nobody asked one for, and those whose run died. See `db/queries/imports.py`."""
    last_sign = func.coalesce(BulkOperation.heartbeat_at, BulkOperation.dispatched_at)
    stale = and_(
        BulkOperation.state.in_(_OPEN),
        or_(
            and_(last_sign.is_(None), BulkOperation.updated_at < utc_in(-grace_seconds)),
            last_sign < utc_in(-orphan_seconds),
        ),
    )
    return session.scalars(
        select(BulkOperation.id).where(stale).order_by(BulkOperation.id).limit(limit)
    ).all()


def list_flow_runs(session: Session, operation_ids: Sequence[int]) -> dict[int, str]:
    """The last Prefect flow run of each operation that has one and was not released since."""
    rows = session.execute(
        select(BulkOperation.id, BulkOperation.prefect_flow_run_id).where(
            BulkOperation.id.in_(operation_ids),
            BulkOperation.prefect_flow_run_id.is_not(None),
            BulkOperation.dispatched_at.is_not(None),
        )
    )
    return {key: run_id for key, run_id in rows if run_id is not None}


def list_spent(session: Session, *, among: Sequence[int], most_runs: int) -> Sequence[int]:
    """Those that had this many runs since their last progress."""
    spent = (BulkOperation.id.in_(among), BulkOperation.idle_runs >= most_runs)
    return session.scalars(select(BulkOperation.id).where(*spent).order_by(BulkOperation.id)).all()


def next_attempt(session: Session, operation_id: int) -> tuple[int, str]:
    """Count one more Prefect run that is about to be asked for; returns its number and the operation's uid."""
    _update(
        session, operation_id, attempt=BulkOperation.attempt + 1, heartbeat_at=None, dispatched_at=utc_now()
    )
    operation = get_operation(session, operation_id)
    return operation.attempt, operation.uid


def record_dispatch(session: Session, operation_id: int, flow_run_id: str) -> None:
    """Prefect took the run: one more that has to show some progress."""
    _update(session, operation_id, prefect_flow_run_id=flow_run_id, idle_runs=BulkOperation.idle_runs + 1)


def release_dispatch(session: Session, operation_id: int) -> None:
    """Prefect could not be reached: leave it to the dispatcher."""
    _update(session, operation_id, dispatched_at=None)


def change_of(operation: BulkOperation) -> Change:
    """What is done to each client."""
    arguments: Mapping[str, Any] = operation.arguments
    return Change(
        operation.action,
        tags=arguments.get("tags", ()),
        client_list_id=arguments.get("client_list_id"),
        changed_by=f"bulk operation {operation.id}",
    )


def choice_of(operation: BulkOperation) -> Choice:
    """Whom it is about."""
    return Choice(list_id=operation.arguments.get("members_of"), rule=operation.rule)


def _new(session: Session, asked: Asked, *, matched_count: int) -> BulkOperation:
    change = asked.change
    has_tags = change.action in (BulkAction.ADD_TAGS, BulkAction.REMOVE_TAGS)
    given: dict[str, Any] = {
        "tags": list(change.tags) if has_tags else None,
        "client_list_id": change.client_list_id,
        "members_of": asked.choice.list_id,
        "at_most": asked.at_most,
    }
    arguments = {name: value for name, value in given.items() if value is not None}
    operation = BulkOperation(
        uid=new_uid(),
        action=change.action,
        arguments=arguments,
        client_ids=None if asked.client_ids is None else list(asked.client_ids),
        rule=None if asked.choice.rule is None else dict(asked.choice.rule),
        created_by=asked.created_by[:100],
        matched_count=matched_count,
    )
    session.add(operation)
    session.flush()
    return operation


def _end_of_piece(session: Session, after: int, piece: int, until: int) -> int:
    """The id of the last client of the next piece; `until` where there are no more."""
    query = select(Client.id).where(Client.id > after, Client.id <= until).order_by(Client.id)
    return session.scalar(query.offset(piece - 1).limit(1)) or until


def _ids_between(session: Session, condition: ColumnElement[bool], after: int, last: int) -> list[int]:
    """Whom it is about of these clients, in one row."""
    found = (
        select(Client.id.label("id")).where(Client.id > after, Client.id <= last, condition).subquery("found")
    )
    text = session.scalar(select(type_coerce(json_list(found.c.id), Text)))
    return sorted(orjson.loads(text)) if text else []


def _update(session: Session, operation_id: int, *conditions: ColumnElement[bool], **values: Any) -> bool:
    result: Any = session.execute(
        update(BulkOperation)
        .where(BulkOperation.id == operation_id, *conditions)
        .values(**values)
        .execution_options(**_QUIET)
    )
    return int(result.rowcount) == 1
