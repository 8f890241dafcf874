"""Stores an upload as an import, in the caller's transaction: an import whose file is not all there is never seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from db.engine import Session
from db.fields import FieldKind
from db.models import MemberImport
from db.queries import custom_fields, import_files, imports
from db.states import ImportPolicy
from tasks.imports.custom_columns import KnownField
from tasks.imports.mapping import validate_mapping
from tasks.imports.plan import Plan, from_stored, to_stored


@dataclass(frozen=True)
class Order:
    """What a person asked for beside the mapping; the list is given by id or by name, or not at all."""

    filename: str
    client_list_id: int | None = None
    list_name: str | None = None
    policy: ImportPolicy = ImportPolicy.UPDATE
    dry_run: bool = False
    created_by: str = ""


def known_fields(session: Session) -> dict[str, KnownField]:
    """The custom fields there are, by key, with what people call them."""
    types = custom_fields.list_field_types(session)
    labels = custom_fields.list_labels(session)
    return {key: KnownField(found, labels.get(key, "")) for key, found in types.items()}


def store_upload(session: Session, path: Path, plan: Plan, order: Order) -> MemberImport:
    """A queued import with its file. Custom fields that the mapping names and nobody has defined are defined, unless
    it is a dry run, which only lists them.

    Raises:
        NotFound: there is no such list.
        Invalid: the list or the mapping does not fit.
    """
    stored = imports.insert_import(
        session,
        filename=order.filename,
        mapping=to_stored(plan.mapping),
        layout=plan.layout.to_json(),
        client_list_id=imports.get_target_list(
            session, list_id=order.client_list_id, name=order.list_name, is_made=not order.dry_run
        ),
        list_name=order.list_name,
        policy=order.policy,
        dry_run=order.dry_run,
        created_by=order.created_by,
        new_fields=_define(session, plan.mapping.custom_kinds(), dry_run=order.dry_run),
    )
    with path.open("rb") as file:
        ordinal = 0
        while piece := file.read(imports.CHUNK_BYTES):
            imports.append_chunk(session, stored, ordinal, piece)
            ordinal += 1
    return imports.get_import(session, stored.id)


def store_dry_run(session: Session, import_id: int, *, created_by: str) -> MemberImport:
    """A queued import of the file of a completed dry run, with the same mapping, policy and list.

    Raises:
        NotFound: there is no such import.
        Conflict: it is no dry run, has not completed, or its file is gone.
        Invalid: a custom field has another kind by now.
    """
    dry_run = import_files.lock_dry_run(session, import_id)
    mapping = from_stored(dry_run.mapping)
    columns = [name for name, _ in mapping.targets]
    validate_mapping(mapping, columns, fields=custom_fields.list_field_types(session))
    stored = imports.insert_import(
        session,
        filename=dry_run.filename,
        mapping=dry_run.mapping,
        layout=dry_run.layout,
        client_list_id=imports.get_target_list(
            session,
            list_id=None if dry_run.list_name else dry_run.client_list_id,
            name=dry_run.list_name,
        ),
        list_name=dry_run.list_name,
        policy=dry_run.policy,
        created_by=created_by,
        new_fields=_define(session, mapping.custom_kinds(), dry_run=False),
    )
    import_files.move_file(session, dry_run=dry_run, to=stored)
    return imports.get_import(session, stored.id)


def _define(session: Session, kinds: Mapping[str, FieldKind], *, dry_run: bool) -> list[str]:
    if dry_run:
        return sorted(set(kinds) - set(custom_fields.list_field_types(session)))
    return custom_fields.ensure_custom_fields(session, kinds)
