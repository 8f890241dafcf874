"""The life of a member import: the file in pieces, progress, rejects, and every change of its state."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, case, func, insert, or_, select, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from db.dialect import insert_ignore, utc_in, utc_now
from db.errors import Conflict, Invalid, NotFound
from db.models import ClientList, FailedJob, ImportReject, MemberImport, MemberImportChunk
from db.queries.executions import new_uid
from db.queries.import_files import delete_files
from db.queries.outgoing import tell
from db.queries.pages import Page, page_of
from db.states import EventType, ImportPolicy, ImportState, JobKind, ListKind

CHUNK_BYTES = 1024 * 1024
"""Pieces of the stored file: small enough for any server's packet limit."""

PASSING_ERRORS = (OperationalError, InterfaceError)
"""What a database says that is away, full or overloaded. Other errors of it would come again."""


UNFINISHED = (ImportState.QUEUED, ImportState.RUNNING, ImportState.UNDOING)
"""States in which a run is at work, or has to be asked for."""


class Severity(StrEnum):
    """Whether a whole row was left out, or something of a row that was kept; or what an undone import did not take back."""

    REJECT = "reject"
    WARNING = "warning"
    KEPT = "kept"


def insert_import(
    session: Session,
    *,
    filename: str,
    mapping: dict[str, Any],
    client_list_id: int | None = None,
    list_name: str | None = None,
    layout: dict[str, Any] | None = None,
    policy: ImportPolicy = ImportPolicy.UPDATE,
    dry_run: bool = False,
    created_by: str = "",
    new_fields: Sequence[str] = (),
) -> MemberImport:
    """A queued import without its file; `append_chunk` adds that in the same transaction."""
    member_import = MemberImport(
        uid=new_uid(),
        filename=filename[:255],
        size_bytes=0,
        mapping=mapping,
        client_list_id=client_list_id,
        list_name=list_name,
        layout=layout,
        policy=policy,
        dry_run=dry_run,
        created_by=created_by[:100],
        new_fields=list(new_fields),
    )
    session.add(member_import)
    session.flush()
    return member_import


def get_target_list(
    session: Session, *, list_id: int | None, name: str | None, is_made: bool = True
) -> int | None:
    """The static list that clients are to be put on: by id, or by name, and then made if it is not there (`is_made`).

    Raises:
        NotFound: there is no list with this id.
        Invalid: both are given, or the list is dynamic, whose members follow from its rule.
    """
    if list_id is not None and name is not None:
        raise Invalid("list_name", "give a client_list_id or a list_name, not both")
    if list_id is not None:
        found = session.get(ClientList, list_id)
        if found is None:
            raise NotFound("client list", list_id)
    elif name is not None:
        if is_made:
            session.execute(insert_ignore(ClientList).values(name=name, description=""))
        found = session.scalars(select(ClientList).where(ClientList.name == name)).one_or_none()
    else:
        return None
    if found is None:
        return None
    if found.kind is not ListKind.STATIC:
        raise Invalid("client_list_id", f"list {found.id} is dynamic; its members follow from its rule")
    return found.id


def append_chunk(session: Session, member_import: MemberImport, ordinal: int, data: bytes) -> None:
    """Store the next piece of the file, up to `CHUNK_BYTES`."""
    session.execute(insert(MemberImportChunk).values(import_id=member_import.id, ordinal=ordinal, data=data))
    member_import.size_bytes += len(data)
    session.flush()


def read_file(session: Session, import_id: int) -> Iterator[bytes]:
    """The pieces of the stored file in their order, one in memory at a time."""
    ordinals = session.scalars(
        select(MemberImportChunk.ordinal)
        .where(MemberImportChunk.import_id == import_id)
        .order_by(MemberImportChunk.ordinal)
    ).all()
    for ordinal in ordinals:
        yield session.scalars(
            select(MemberImportChunk.data).where(
                MemberImportChunk.import_id == import_id, MemberImportChunk.ordinal == ordinal
            )
        ).one()


def get_import(session: Session, import_id: int) -> MemberImport:
    found = session.get(MemberImport, import_id, populate_existing=True)
    if found is None:
        raise NotFound("member import", import_id)
    return found


def list_imports(session: Session, *, after: int, limit: int) -> Page[MemberImport]:
    """Imports in the order they were uploaded."""
    return page_of(session, select(MemberImport), MemberImport.id, after=after, limit=limit)


def list_rejects(
    session: Session, import_id: int, *, after: int, limit: int, severity: Severity | None = None
) -> Page[ImportReject]:
    """What was left out of an import, in the order of the file's chunks."""
    query = select(ImportReject).where(ImportReject.import_id == import_id)
    if severity is not None:
        query = query.where(ImportReject.severity == severity)
    return page_of(session, query, ImportReject.id, after=after, limit=limit)


def count_reasons(session: Session, import_id: int) -> dict[tuple[str, str], int]:
    """How often each (severity, reason) left out a row or a cell."""
    rows = session.execute(
        select(ImportReject.severity, ImportReject.reason, func.count())
        .where(ImportReject.import_id == import_id)
        .group_by(ImportReject.severity, ImportReject.reason)
    )
    return {(severity, reason): count for severity, reason, count in rows}


def start_import(session: Session, import_id: int) -> MemberImport:
    """Mark a queued import as running; one that runs already (cut, or in other hands) stays as it is."""
    session.execute(
        update(MemberImport)
        .where(
            MemberImport.id == import_id,
            MemberImport.state.in_([ImportState.QUEUED, ImportState.RUNNING]),
        )
        .values(state=ImportState.RUNNING, heartbeat_at=utc_now())
        .execution_options(synchronize_session=False)
    )
    return get_import(session, import_id)


def record_total_rows(session: Session, import_id: int, total_rows: int) -> None:
    """The file was read to its end once: it has this many rows below the header."""
    _update_running(session, import_id, total_rows=total_rows, heartbeat_at=utc_now())


def heartbeat(session: Session, import_id: int) -> None:
    """Say that a run is working on the import."""
    _update_running(session, import_id, heartbeat_at=utc_now())


def complete_import(session: Session, import_id: int) -> MemberImport:
    """Every row is done: the file, which nobody needs any more, is deleted; its rejects stay. That of a dry run is kept for
    the import that may follow (`db/queries/import_files.py`).

    Raises:
        Conflict: rows are left, or the import does not run (any more).
    """
    changed = _update_running(
        session,
        import_id,
        MemberImport.done_rows == MemberImport.total_rows,
        state=ImportState.COMPLETED,
        finished_at=utc_now(),
        error=None,
    )
    if not changed:
        raise Conflict(f"import {import_id} is not at its end")
    completed = get_import(session, import_id)
    if not completed.dry_run:
        delete_files(session, [import_id])
    tell(session, EventType.IMPORT_FINISHED, lambda: [facts_of(completed)])
    return completed


def facts_of(found: MemberImport) -> dict[str, Any]:
    """What other systems are told of an import that is over."""
    names = ("total_rows", "created_count", "updated_count", "rejected_count")
    counts = {name: getattr(found, name) for name in names if hasattr(found, name)}
    return {"import_id": found.id, "state": found.state.value, "dry_run": found.dry_run, **counts}


def fail_import(session: Session, import_id: int, *, error: str) -> MemberImport:
    """Give up, with a failed job for people to see. The file and what was imported of it stay.

    `error` names no value of the file. An import that is over stays as it is.
    """
    changed = session.execute(
        update(MemberImport)
        .where(
            MemberImport.id == import_id,
            MemberImport.state.in_(UNFINISHED),
        )
        .values(
            state=ImportState.FAILED,
            error=error[:2000],
            # What was changed after the import is told by the time at which it ended, not its undoing.
            finished_at=func.coalesce(MemberImport.finished_at, utc_now()),
        )
        .execution_options(synchronize_session=False)
    )
    if _rowcount(changed):
        session.add(FailedJob(kind=JobKind.IMPORT, subject={"import_id": import_id}, error=error[:2000]))
        session.flush()
        tell(session, EventType.IMPORT_FINISHED, lambda: [facts_of(get_import(session, import_id))])
    return get_import(session, import_id)


def give_up_import(session: Session, import_id: int, *, most_runs: int) -> bool:
    """Ask for no more runs of an import that `most_runs` of them brought no further; False when one did after all."""
    member_import = session.scalars(
        # Who holds the row is just committing a chunk.
        select(MemberImport).where(MemberImport.id == import_id).with_for_update(skip_locked=True)
    ).one_or_none()
    if member_import is None or member_import.idle_runs < most_runs:
        return False
    if member_import.state not in UNFINISHED:
        return False
    error = f"{member_import.idle_runs} runs in a row ended before they got any further; Prefect shows why"
    fail_import(session, import_id, error=error)
    return True


def requeue_import(session: Session, import_id: int) -> MemberImport:
    """Try a failed import again; it goes on after the last chunk that was committed, or with its undoing if that had begun.

    Raises:
        Conflict: the import has not failed.
    """
    changed = session.execute(
        update(MemberImport)
        .where(MemberImport.id == import_id, MemberImport.state == ImportState.FAILED)
        .values(
            state=case((MemberImport.undo_position.is_(None), ImportState.QUEUED), else_=ImportState.UNDOING),
            error=None,
            finished_at=case((MemberImport.undo_position.is_(None), None), else_=MemberImport.finished_at),
            heartbeat_at=None,
            dispatched_at=None,
            idle_runs=0,
        )
        .execution_options(synchronize_session=False)
    )
    member_import = get_import(session, import_id)
    if not _rowcount(changed):
        raise Conflict(f"import {import_id} is {member_import.state}; only a failed one can be tried again")
    return member_import


def list_undispatched_imports(
    session: Session, *, limit: int = 100, orphan_seconds: int, grace_seconds: int = 5
) -> Sequence[int]:
    """Imports that need a Prefect run: those nobody asked one for, and those whose run died.

    `grace_seconds` leaves the process that stored the file the time to ask by itself. A run that has shown no
    heartbeat within `orphan_seconds` counts as dead; a needless second run is harmless.
    """
    last_sign = func.coalesce(MemberImport.heartbeat_at, MemberImport.dispatched_at)
    stale = and_(
        MemberImport.state.in_(UNFINISHED),
        or_(
            and_(last_sign.is_(None), MemberImport.updated_at < utc_in(-grace_seconds)),
            last_sign < utc_in(-orphan_seconds),
        ),
    )
    return session.scalars(select(MemberImport.id).where(stale).order_by(MemberImport.id).limit(limit)).all()


def list_flow_runs(session: Session, import_ids: Sequence[int]) -> dict[int, str]:
    """The last Prefect flow run of each import that has one and was not released since."""
    rows = session.execute(
        select(MemberImport.id, MemberImport.prefect_flow_run_id).where(
            MemberImport.id.in_(import_ids),
            MemberImport.prefect_flow_run_id.is_not(None),
            MemberImport.dispatched_at.is_not(None),
        )
    )
    return {key: run_id for key, run_id in rows if run_id is not None}


def list_spent(session: Session, *, among: Sequence[int], most_runs: int) -> Sequence[int]:
    """Those of the imports that had this many runs since their last progress."""
    return session.scalars(
        select(MemberImport.id)
        .where(MemberImport.id.in_(among), MemberImport.idle_runs >= most_runs)
        .order_by(MemberImport.id)
    ).all()


def next_attempt(session: Session, import_id: int) -> tuple[int, str]:
    """Count one more Prefect run that is about to be asked for; returns its number and the import's uid."""
    update_import(
        session, import_id, attempt=MemberImport.attempt + 1, heartbeat_at=None, dispatched_at=utc_now()
    )
    member_import = get_import(session, import_id)
    return member_import.attempt, member_import.uid


def record_dispatch(session: Session, import_id: int, flow_run_id: str) -> None:
    """Prefect took the run: one more that has to show some progress."""
    update_import(session, import_id, prefect_flow_run_id=flow_run_id, idle_runs=MemberImport.idle_runs + 1)


def release_dispatch(session: Session, import_id: int) -> None:
    """Prefect could not be reached: leave the import to the dispatcher."""
    update_import(session, import_id, dispatched_at=None)


def fence_import(session: Session, import_id: int, *, first_row: int, row_count: int) -> MemberImport:
    """Move `done_rows` past a chunk. Comes first in its transaction, so that of two runs one waits here for the other's chunk
    to be committed, and loses.

    Raises:
        Conflict: `done_rows` is not at the chunk's first row, or the import does not run (any more).
    """
    moved = _update_running(
        session,
        import_id,
        MemberImport.done_rows == first_row,
        done_rows=first_row + row_count,
        idle_runs=0,
        heartbeat_at=utc_now(),
    )
    if not moved:
        raise Conflict(f"import {import_id}: the rows after {first_row} were taken by another run")
    return get_import(session, import_id)


def update_import(session: Session, import_id: int, **values: Any) -> int:
    """Set columns of the import, whatever its state."""
    result = session.execute(
        update(MemberImport)
        .where(MemberImport.id == import_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return _rowcount(result)


def _update_running(session: Session, import_id: int, *conditions: Any, **values: Any) -> bool:
    result = session.execute(
        update(MemberImport)
        .where(MemberImport.id == import_id, MemberImport.state == ImportState.RUNNING, *conditions)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return _rowcount(result) == 1


def _rowcount(result: Any) -> int:
    return int(result.rowcount)
