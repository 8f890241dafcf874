"""An import is taken back: in pieces, each of them one transaction, that go on where a run was cut.

1. Clients that it changed get back what nobody has changed since; the journal of each goes with it.
2. Clients that it created are deleted, but for those with whom something happened since.
3. Whom it put on its list is taken off it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import and_, delete, func, insert, literal, or_, select, type_coerce, update
from sqlalchemy.orm import Session
from sqlalchemy.types import Text

from db.dialect import utc_now
from db.errors import Conflict
from db.fields import fits
from db.models import (
    Client,
    ClientListMember,
    ConsentChange,
    FormerMember,
    ImportChange,
    ImportReject,
    MemberImport,
    MemberImportChunk,
    Message,
)
from db.queries.custom_fields import hold_field_types
from db.queries.import_journal import (
    CHANNELS,
    IMPORTED,
    UNDONE,
    Difference,
    insert_consents,
    insert_differences,
    source_of,
    take_differences,
    undo_source_of,
)
from db.queries.imports import Severity, facts_of, get_import, update_import
from db.queries.outgoing import tell
from db.queries.upserts import COLUMNS, replace_columns
from db.reversal import Reversal, consents_of, hand_down, handed_down, revert
from db.states import EventType, ImportState

_QUIET = {"synchronize_session": False}
_KEPT_CLIENT = {
    "written_to": "was created by this import and kept: messages were sent to this client",
    "on_a_list": "was created by this import and kept: this client is on another list",
    "consented": "was created by this import and kept: this client's consent was recorded since",
    "changed_since": "was created by this import and kept: this client was changed since",
}


@dataclass(frozen=True)
class UndonePiece:
    """How many clients a piece looked at; 0 when nothing was left of its kind."""

    clients: int


def request_undo(session: Session, import_id: int) -> MemberImport:
    """Have an import undone that is over; for one that is being undone, or was, nothing changes.

    A failed one can be undone too, and is not tried again then.

    Raises:
        NotFound: there is no such import.
        Conflict: it is not over yet, or was a dry run, which changed nothing.
    """
    changed: Any = session.execute(
        update(MemberImport)
        .where(
            MemberImport.id == import_id,
            MemberImport.state.in_([ImportState.COMPLETED, ImportState.FAILED]),
            MemberImport.dry_run.is_(False),
        )
        .values(
            state=ImportState.UNDOING,
            error=None,
            heartbeat_at=None,
            dispatched_at=None,
            idle_runs=0,
            undo_position=func.coalesce(MemberImport.undo_position, 0),
        )
        .execution_options(**_QUIET)
    )
    found = get_import(session, import_id)
    if changed.rowcount or found.state in (ImportState.UNDOING, ImportState.UNDONE):
        return found
    if found.dry_run:
        raise Conflict(f"import {import_id} was a dry run: it has changed nothing that could be undone")
    raise Conflict(f"import {import_id} is {found.state}; it can be undone when it is over")


def count_left(session: Session, import_id: int) -> int:
    """How many clients the undoing still has to look at."""
    changed = select(func.count()).select_from(ImportChange).where(ImportChange.import_id == import_id)
    created = (
        select(func.count())
        .select_from(Client)
        .where(Client.import_id == import_id, Client.id > func.coalesce(MemberImport.undo_position, 0))
        .where(MemberImport.id == import_id)
    )
    return session.scalars(changed).one() + session.scalars(created).one()


def undo_changes(session: Session, import_id: int, *, limit: int) -> UndonePiece:
    """Give some of the clients that the import changed back what they had.

    Raises:
        Conflict: the import is not being undone (any more).
    """
    _hold(session, import_id)
    ids = session.scalars(
        select(ImportChange.client_id)
        .where(ImportChange.import_id == import_id)
        .order_by(ImportChange.client_id)
        .limit(limit)
    ).all()
    if not ids:
        return UndonePiece(0)
    clients = _lock_clients(session, ids)
    journal = take_differences(session, import_id, ids)
    confirmed = _confirmed(session, import_id, ids)
    unfit = _unfit(session, {key: before for key, (before, _) in journal.items()})
    reversals = {
        key: revert(
            columns,
            *journal[key],
            identity=columns["identity_key"],
            confirmed=confirmed.get(key, ()),
            unfit=unfit.get(key, ()),
        )
        for key, columns in clients.items()
    }
    _hand_down(session, import_id, journal, reversals)
    changes = {key: found.changes for key, found in reversals.items() if found.changes}
    replace_columns(session, {key: clients[key] | values for key, values in changes.items()})
    _log_taken_back(session, import_id, changes)
    _report(
        session,
        import_id,
        [
            (key, name, "changed_since", "somebody has changed this value, or its field, since; it was kept")
            for key, found in reversals.items()
            for name in found.kept
        ],
    )
    update_import(session, import_id, undone_count=MemberImport.undone_count + len(changes))
    return UndonePiece(len(ids))


def undo_creations(session: Session, import_id: int, *, limit: int) -> UndonePiece:
    """Delete some of the clients that the import created, but for those with whom something happened since.

    Raises:
        Conflict: the import is not being undone (any more).
    """
    member_import = _hold(session, import_id)
    ids = session.scalars(
        select(Client.id)
        .where(Client.import_id == import_id, Client.id > (member_import.undo_position or 0))
        .order_by(Client.id)
        .limit(limit)
        .with_for_update()
    ).all()
    if not ids:
        return UndonePiece(0)
    kept = _why_kept(session, member_import, ids)
    gone = [key for key in ids if key not in kept]
    # What refers to a client goes with it; the ledger keeps what was sent, and nothing was.
    for start in range(0, len(gone), _DELETED_AT_ONCE):
        some = gone[start : start + _DELETED_AT_ONCE]
        session.execute(delete(Client).where(Client.id.in_(some)).execution_options(**_QUIET))
    _report(
        session, import_id, [(key, "", reason, _KEPT_CLIENT[reason]) for key, reason in sorted(kept.items())]
    )
    update_import(
        session, import_id, undo_position=ids[-1], undone_count=MemberImport.undone_count + len(gone)
    )
    return UndonePiece(len(ids))


def undo_memberships(session: Session, import_id: int, *, limit: int) -> UndonePiece:
    """Take some of those off the list whom the import put there.

    Raises:
        Conflict: the import is not being undone (any more).
    """
    member_import = _hold(session, import_id)
    is_one = and_(
        ClientListMember.client_list_id == member_import.client_list_id,
        ClientListMember.import_id == import_id,
    )
    ids = session.scalars(
        select(ClientListMember.client_id).where(is_one).order_by(ClientListMember.client_id).limit(limit)
    ).all()
    if ids:
        some = and_(is_one, ClientListMember.client_id <= ids[-1])
        _remember_members(session, import_id, some)
        session.execute(delete(ClientListMember).where(some).execution_options(**_QUIET))
    return UndonePiece(len(ids))


def finish_undo(session: Session, import_id: int) -> MemberImport:
    """Nothing is left to be taken back: the import is undone, and its file, which a failed one still has, is deleted.

    Raises:
        Conflict: the import is not being undone (any more).
    """
    _hold(session, import_id)
    session.execute(
        delete(MemberImportChunk).where(MemberImportChunk.import_id == import_id).execution_options(**_QUIET)
    )
    update_import(session, import_id, state=ImportState.UNDONE)
    undone = get_import(session, import_id)
    tell(session, EventType.IMPORT_FINISHED, lambda: [facts_of(undone)])
    return undone


_DELETED_AT_ONCE = 1_000


def _unfit(session: Session, before: Mapping[int, Mapping[str, Any]]) -> dict[int, set[str]]:
    """Of each client the custom fields whose earlier values do not fit what the fields are now. Holds the fields."""
    customs = {key: columns.get("custom_fields") or {} for key, columns in before.items()}
    names = {name for values in customs.values() for name in values}
    fields = hold_field_types(session, names) if names else {}
    return {
        key: {
            name for name, value in values.items() if value is not None and not fits(fields.get(name), value)
        }
        for key, values in customs.items()
    }


def _hold(session: Session, import_id: int) -> MemberImport:
    """Comes first, so that of two runs one waits here for the other's piece."""
    held: Any = session.execute(
        update(MemberImport)
        .where(MemberImport.id == import_id, MemberImport.state == ImportState.UNDOING)
        .values(heartbeat_at=utc_now(), idle_runs=0)
        .execution_options(**_QUIET)
    )
    if not held.rowcount:
        raise Conflict(f"import {import_id} is not being undone")
    return get_import(session, import_id)


def _lock_clients(session: Session, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    names = ("identity_key", *COLUMNS)
    columns = [getattr(Client, name) for name in names]
    rows = session.execute(
        select(Client.id, *columns).where(Client.id.in_(ids)).order_by(Client.id).with_for_update()
    )
    return {key: dict(zip(names, values, strict=True)) for key, *values in rows}


def _confirmed(session: Session, import_id: int, ids: Sequence[int]) -> dict[int, set[str]]:
    """The consents that were recorded after the import had set them, by client. Other imports do not count: a consent that they
    set again is no change, and has not come from the client."""
    is_own = ConsentChange.source == source_of(import_id)
    own = (
        select(ConsentChange.client_id, ConsentChange.channel, func.max(ConsentChange.id).label("last"))
        .where(ConsentChange.client_id.in_(ids), is_own)
        .group_by(ConsentChange.client_id, ConsentChange.channel)
        .subquery()
    )
    rows = session.execute(
        select(ConsentChange.client_id, ConsentChange.channel)
        .join(
            own,
            and_(
                own.c.client_id == ConsentChange.client_id,
                own.c.channel == ConsentChange.channel,
                ConsentChange.id > own.c.last,
            ),
        )
        .where(*(ConsentChange.source.not_like(f"{source}%") for source in (IMPORTED, UNDONE)))
        .distinct()
    )
    names = {channel: name for name, channel in CHANNELS.items()}
    found: dict[int, set[str]] = {}
    for client_id, channel in rows:
        found.setdefault(client_id, set()).add(names[channel])
    return found


def _hand_down(
    session: Session, import_id: int, journal: Mapping[int, Difference], reversals: Mapping[int, Reversal]
) -> None:
    """Later imports that wrote over what this one had written bring back, when they are undone, what was before both."""
    rows = session.execute(
        select(
            ImportChange.import_id,
            ImportChange.client_id,
            type_coerce(ImportChange.before, Text),
            type_coerce(ImportChange.after, Text),
        ).where(ImportChange.client_id.in_(list(reversals)), ImportChange.import_id != import_id)
    )
    changed: dict[int, dict[int, Difference]] = {}
    for other, client_id, before, after in rows:
        earlier = orjson.loads(before)
        rewritten = hand_down(earlier, *journal[client_id])
        if rewritten is None:
            continue
        changed.setdefault(other, {})[client_id] = (rewritten, orjson.loads(after))
        names = handed_down(earlier, *journal[client_id])
        kept = reversals[client_id].kept
        kept[:] = [name for name in kept if name not in names]
    for other, differences in changed.items():
        take_differences(session, other, list(differences))
        insert_differences(session, other, differences)


def _log_taken_back(session: Session, import_id: int, changes: Mapping[int, Mapping[str, Any]]) -> None:
    for name, channel in CHANNELS.items():
        consents = {key: consents_of(values)[name] for key, values in changes.items() if name in values}
        insert_consents(
            session,
            consents,
            channel=channel.value,
            source=undo_source_of(import_id),
            wording="taken back with the import that had set it",
        )


def _why_kept(session: Session, member_import: MemberImport, ids: Sequence[int]) -> dict[int, str]:
    """The reason for each of these clients that has to be kept."""
    own = source_of(member_import.id)
    is_elsewhere = or_(ClientListMember.import_id.is_(None), ClientListMember.import_id != member_import.id)
    finished = member_import.finished_at or member_import.updated_at
    queries = {
        "changed_since": select(Client.id).where(Client.id.in_(ids), Client.updated_at > finished),
        "consented": select(ConsentChange.client_id).where(
            ConsentChange.client_id.in_(ids), ConsentChange.source != own
        ),
        "on_a_list": select(ClientListMember.client_id).where(
            ClientListMember.client_id.in_(ids), is_elsewhere
        ),
        "written_to": select(Message.client_id).where(Message.client_id.in_(ids)),
    }
    # The later reason says more than the one before it.
    return {key: reason for reason, query in queries.items() for key in session.scalars(query.distinct())}


def _remember_members(session: Session, import_id: int, condition: Any) -> None:
    columns = ["client_list_id", "client_id", "added_at", "removed_by"]
    members = select(
        ClientListMember.client_list_id,
        ClientListMember.client_id,
        ClientListMember.added_at,
        literal(undo_source_of(import_id)),
    ).where(condition)
    session.execute(insert(FormerMember).from_select(columns, members, include_defaults=False))


def _report(session: Session, import_id: int, kept: Collection[tuple[int, str, str, str]]) -> None:
    """(client, column, reason, message) of what was not taken back; the row of the file is not known any more."""
    if kept:
        rows = [
            {
                "import_id": import_id,
                "severity": Severity.KEPT.value,
                "row_number": 0,
                "column_name": column[:150],
                "value": str(client_id),
                "reason": reason,
                "message": f"client {client_id}: {message}",
            }
            for client_id, column, reason, message in kept
        ]
        session.execute(insert(ImportReject), rows)
