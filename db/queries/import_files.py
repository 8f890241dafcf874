"""The stored file of a dry run: kept for a while, and handed to the import that follows it."""

from collections.abc import Sequence

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_in
from db.errors import Conflict, NotFound
from db.models import MemberImport, MemberImportChunk
from db.states import ImportState

_MOST_AT_ONCE = 10


def lock_dry_run(session: Session, import_id: int) -> MemberImport:
    """A finished dry run whose file is still there; nobody else can take it until the transaction ends.

    Raises:
        NotFound: there is no such import.
        Conflict: it is no dry run, has not finished, or its file is gone.
    """
    dry_run = session.scalars(
        select(MemberImport).where(MemberImport.id == import_id).with_for_update()
    ).one_or_none()
    if dry_run is None:
        raise NotFound("member import", import_id)
    if not dry_run.dry_run:
        raise Conflict(f"import {import_id} is no dry run: it has changed clients itself")
    if dry_run.state is not ImportState.COMPLETED:
        raise Conflict(f"dry run {import_id} is {dry_run.state}; only a completed one can be imported")
    piece = select(MemberImportChunk.ordinal).where(MemberImportChunk.import_id == import_id).limit(1)
    if session.scalars(piece).one_or_none() is None:
        raise Conflict(
            f"the file of dry run {import_id} is not kept any more: it was imported already, or has waited "
            "too long (ICS_DRY_RUN_FILE_HOURS); upload it again"
        )
    return dry_run


def move_file(session: Session, *, dry_run: MemberImport, to: MemberImport) -> None:
    """Hand the stored file over."""
    session.execute(
        update(MemberImportChunk)
        .where(MemberImportChunk.import_id == dry_run.id)
        .values(import_id=to.id)
        .execution_options(synchronize_session=False)
    )
    to.size_bytes = dry_run.size_bytes
    session.flush()


def delete_left_files(session: Session, *, older_than_hours: int) -> Sequence[int]:
    """Delete the files of dry runs that completed longer ago than this; returns their ids, a few at a time."""
    left = session.scalars(
        select(MemberImport.id)
        .where(
            MemberImport.dry_run,
            MemberImport.state == ImportState.COMPLETED,
            MemberImport.finished_at < utc_in(-older_than_hours * 3600),
            exists().where(MemberImportChunk.import_id == MemberImport.id),
        )
        .order_by(MemberImport.id)
        .limit(_MOST_AT_ONCE)
    ).all()
    delete_files(session, left)
    return left


def delete_files(session: Session, import_ids: Sequence[int]) -> None:
    """Delete the stored files of imports."""
    if import_ids:
        session.execute(
            delete(MemberImportChunk)
            .where(MemberImportChunk.import_id.in_(import_ids))
            .execution_options(synchronize_session=False)
        )
