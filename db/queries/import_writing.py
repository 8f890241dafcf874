"""A chunk of an import becomes clients: in one transaction, wholly and once, or not at all."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.dialect import json_arrays, quoted, with_rows
from db.fields import FieldKind, FieldType
from db.models import ImportReject, MemberImport
from db.overlay import lay_over
from db.queries.custom_fields import ensure_custom_fields, hold_custom_fields
from db.queries.import_guard import ByErasedAddress, Guarded, guard_rows
from db.queries.import_journal import journal_changes, log_consents
from db.queries.imports import Severity, fence_import, update_import
from db.queries.parameters import as_text, packed
from db.queries.upserts import (
    COLUMNS,
    StoredClient,
    add_created_members,
    add_members,
    insert_clients,
    last_created,
    lock_clients,
    update_clients,
)
from db.states import ImportPolicy

_ATTEMPTS = 3
_ERASED = "was erased at a person's request, and is not brought back by an import"
_SUPPRESSED = "the address is suppressed: the client was imported, but without this consent"


@dataclass(frozen=True)
class RejectRow:
    """What was left out of a file. `value` and `message` are shortened to what the columns hold; `cells` are those of a row
    that was left out."""

    severity: Severity
    row_number: int
    column_name: str
    value: str
    reason: str
    message: str
    cells: Sequence[str] | None = None


@dataclass(frozen=True)
class CleanRows:
    """What became of the rows `first_row` up to `first_row + row_count` of the file (the first one is 0).

    `clients` are rows: the columns of `clients` and a `row_number`, each `identity_key` at most once; `duplicates` rows were
    merged into one of them. `repeated` are identity keys among them that rows before `first_row` had already.
    `fields` are the custom fields that the rows may have, as they were when the values were read; `spare_fields` others, of text,
    that are defined when they occur. `columns` names the columns of the file by the columns of `clients`. `by_erased` recognises people who were erased.
    """

    first_row: int
    row_count: int
    clients: Sequence[Mapping[str, Any]]
    duplicates: int = 0
    repeated: Collection[str] = ()
    rejects: Sequence[RejectRow] = ()
    warnings: Sequence[RejectRow] = ()
    fields: Mapping[str, FieldType] = field(default_factory=dict)
    spare_fields: Collection[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    by_erased: ByErasedAddress | None = None


@dataclass(frozen=True)
class _Plan:
    """What the rows of a chunk do. `created` and `changed` are rows, the others identity keys."""

    stored: Mapping[str, StoredClient]
    guarded: Guarded
    created: list[Mapping[str, Any]]
    changed: dict[str, dict[str, Any]]
    unchanged: set[str]
    skipped: set[str]


def advance_import(session: Session, import_id: int, rows: CleanRows) -> None:
    """Import a chunk and move `done_rows` past it in one transaction: wholly and once, or not at all.

    A dry run decides the same, and writes only what it would have done.

    Raises:
        Conflict: `done_rows` is not at the chunk's first row, or the import does not run (any more): somebody
            else imported the chunk. Nothing was changed.
        Invalid: a custom field is no more what it was when the rows were read.
    """
    member_import = fence_import(session, import_id, first_row=rows.first_row, row_count=rows.row_count)
    if member_import.dry_run:
        plan, late = _plan(session, member_import, rows), 0
    else:
        plan, late = _write(session, member_import, rows)
    found = _found_by_guard(plan.guarded, rows)
    _insert_rejects(session, import_id, [*rows.rejects, *rows.warnings, *found])
    _add_counts(session, import_id, rows, plan, found, late)


def _plan(session: Session, member_import: MemberImport, rows: CleanRows) -> _Plan:
    stored = lock_clients(
        session,
        [row["identity_key"] for row in rows.clients],
        list_id=member_import.client_list_id,
    )
    guarded = guard_rows(
        session,
        rows.clients,
        stored,
        policy=member_import.policy,
        by_erased=rows.by_erased,
        spare_fields=rows.spare_fields,
    )
    plan = _Plan(stored, guarded, [], {}, set(), set())
    is_same = _comparison(guarded.rows)
    for row in guarded.rows:
        key = row["identity_key"]
        client = stored.get(key)
        if client is None:
            plan.created.append(row)
        elif member_import.policy is ImportPolicy.SKIP:
            plan.skipped.add(key)
        elif is_same(row, client):
            plan.unchanged.add(key)
        elif changes := lay_over(client.columns, row, member_import.policy):
            plan.changed[key] = changes
        else:
            plan.unchanged.add(key)
    return plan


def _comparison(rows: Sequence[Mapping[str, Any]]) -> Callable[[Mapping[str, Any], StoredClient], bool]:
    """Whether a row says exactly what is stored: then no policy changes anything, and nobody has to look at each column."""
    names = [name for name in COLUMNS if rows and name in rows[0]]
    if len(names) < 2 or any(row.keys() != rows[0].keys() for row in rows):
        return lambda row, client: False
    of_row = itemgetter(*names)
    of_client = itemgetter(*map(COLUMNS.index, names))
    return lambda row, client: bool(of_row(row) == of_client(client.values))


def _write(session: Session, member_import: MemberImport, rows: CleanRows) -> tuple[_Plan, int]:
    """Write the chunk; returns also how many clients were changed whose first row in the file had not changed them."""
    if rows.spare_fields:
        _define_spare_fields(session, member_import, rows.spare_fields)
    hold_custom_fields(session, rows.fields)
    created_before = last_created(session, member_import.id)
    plan = _insert(session, member_import, rows)
    changes = {plan.stored[key].id: values for key, values in plan.changed.items()}
    update_clients(session, changes)
    late = journal_changes(
        session,
        member_import.id,
        {client.id: client for client in map(plan.stored.__getitem__, plan.changed)},
        changes,
        repeated={plan.stored[key].id for key in rows.repeated if key in plan.changed},
    )
    log_consents(
        session,
        member_import,
        changes=changes,
        created=plan.created,
        created_after=created_before,
        columns=rows.columns,
    )
    if member_import.client_list_id is not None:
        _put_on_list(session, member_import, plan, created_before)
    return plan, late


def _insert(session: Session, member_import: MemberImport, rows: CleanRows) -> _Plan:
    for attempt in range(1, _ATTEMPTS + 1):
        plan = _plan(session, member_import, rows)
        try:
            insert_clients(session, plan.created, import_id=member_import.id)
        except IntegrityError:
            # Somebody created one of them since we looked. The statement was undone, the transaction goes on.
            if attempt == _ATTEMPTS:
                raise
        else:
            return plan
    raise AssertionError("unreachable")


def _put_on_list(session: Session, member_import: MemberImport, plan: _Plan, created_before: int) -> None:
    list_id = member_import.client_list_id
    assert list_id is not None
    if plan.created:
        add_created_members(session, list_id, import_id=member_import.id, after=created_before)
    kept = (plan.stored.get(row["identity_key"]) for row in plan.guarded.rows)
    missing = [client.id for client in kept if client is not None and not client.is_member]
    add_members(session, list_id, missing, import_id=member_import.id)


def _define_spare_fields(session: Session, member_import: MemberImport, keys: Collection[str]) -> None:
    new = ensure_custom_fields(session, dict.fromkeys(keys, FieldKind.TEXT))
    if new:
        fields = [*(member_import.new_fields or ()), *new]
        update_import(session, member_import.id, new_fields=fields)


# What the report says


def _found_by_guard(guarded: Guarded, rows: CleanRows) -> list[RejectRow]:
    """Without values and cells: of a person who was erased nothing is kept."""
    repeated = set(rows.repeated)
    found = [
        RejectRow(
            Severity.REJECT,
            row["row_number"],
            _address_column(row, rows),
            "",
            "erased",
            f"this person {_ERASED}",
        )
        for row in guarded.erased
        if row["identity_key"] not in repeated
    ]
    found += [
        RejectRow(
            Severity.WARNING, number, rows.columns.get("phone", ""), "", "erased", f"this number {_ERASED}"
        )
        for number in guarded.without_phone
    ]
    found += [
        RejectRow(Severity.WARNING, number, key, "", "erased", f"this address {_ERASED}")
        for number, key in guarded.without_spare
    ]
    found += [
        RejectRow(Severity.WARNING, number, rows.columns.get(consent, ""), "", "suppressed", _SUPPRESSED)
        for number, consent in guarded.suppressed
    ]
    return sorted(found, key=lambda each: each.row_number)


def _address_column(row: Mapping[str, Any], rows: CleanRows) -> str:
    return rows.columns.get("email" if row.get("email") else "phone", "")


def _add_counts(
    session: Session, import_id: int, rows: CleanRows, plan: _Plan, found: Sequence[RejectRow], late: int
) -> None:
    """Each row of the file is counted once: a client that an earlier chunk had is a duplicate here.

    `late` clients were counted as unchanged by their first row, and changed by a later one.
    """
    repeated = set(rows.repeated)
    rejected = {reject.row_number for reject in rows.rejects}
    rejected |= {reject.row_number for reject in found if reject.severity is Severity.REJECT}
    warnings = sum(reject.severity is Severity.WARNING for reject in found)
    update_import(
        session,
        import_id,
        created_count=MemberImport.created_count
        + sum(row["identity_key"] not in repeated for row in plan.created),
        updated_count=MemberImport.updated_count + len(plan.changed.keys() - repeated) + late,
        unchanged_count=MemberImport.unchanged_count + len(plan.unchanged - repeated) - late,
        skipped_count=MemberImport.skipped_count + len(plan.skipped - repeated),
        duplicate_count=MemberImport.duplicate_count + rows.duplicates + len(repeated),
        rejected_count=MemberImport.rejected_count + len(rejected),
        warning_count=MemberImport.warning_count + len(rows.warnings) + warnings,
    )


_REJECT_TYPES = {
    "severity": "VARCHAR(8)",
    "row_number": "BIGINT",
    "column_name": "VARCHAR(150)",
    "value": "VARCHAR(100)",
    "reason": "VARCHAR(40)",
    "message": "VARCHAR(300)",
    "cells": "LONGTEXT",
}


def _insert_rejects(session: Session, import_id: int, rejects: Sequence[RejectRow]) -> None:
    dialect = session.get_bind().dialect
    # `row_number` is a word of MySQL's own.
    names = {f"r_{name}": kind for name, kind in _REJECT_TYPES.items()}
    columns = ", ".join(quoted(dialect, name) for name in _REJECT_TYPES)
    source = json_arrays(dialect, "rows", names)
    statement = with_rows(
        f"INSERT INTO {ImportReject.__tablename__} (import_id, {columns})"
        f" SELECT :import_id, {', '.join(names)} FROM {source} AS incoming",
        "rows",
    )
    for group in packed(_reject_values(reject) for reject in rejects):
        session.execute(statement, {"import_id": import_id, "rows": group})


def _reject_values(reject: RejectRow) -> list[Any]:
    return [
        reject.severity.value,
        reject.row_number,
        reject.column_name[:150],
        reject.value[:100],
        reject.reason[:40],
        reject.message[:300],
        None if reject.cells is None else as_text(list(reject.cells)),
    ]
