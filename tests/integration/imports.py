"""What tests of imports start from: a stored file, and a run of it."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.engine import Database
from db.models import Client, ImportReject
from db.queries import imports
from db.queries.custom_fields import ensure_custom_fields
from db.states import ImportPolicy, ImportState
from tasks.imports.mapping import ColumnMapping
from tasks.imports.plan import to_stored
from tasks.imports.run import ImportReport, run_import


def store(
    database: Database,
    mapping: dict[str, str],
    *rows: str,
    policy: ImportPolicy = ImportPolicy.UPDATE,
    dry_run: bool = False,
    list_name: str | None = None,
    options: dict[str, Any] | None = None,
) -> int:
    """A queued import of a CSV whose columns are those of the mapping; its custom fields are defined."""
    planned = ColumnMapping.from_json({"columns": mapping, "default_region": "IE", **(options or {})})
    data = "\n".join([",".join(mapping), *rows, ""]).encode()

    def work(session: Session) -> int:
        stored = imports.insert_import(
            session,
            filename="clients.csv",
            mapping=to_stored(planned),
            client_list_id=imports.get_target_list(session, list_id=None, name=list_name),
            policy=policy,
            dry_run=dry_run,
        )
        imports.append_chunk(session, stored, 0, data)
        ensure_custom_fields(session, planned.custom_kinds())
        return stored.id

    return database.run(work)


def quiet(done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


def run(database: Database, import_id: int, *, chunk_rows: int = 5000) -> ImportReport:
    """Run the import; every row of a completed one is counted once."""
    report = run_import(database, import_id, on_progress=quiet, chunk_rows=chunk_rows)
    if report.state is ImportState.COMPLETED:
        kept = report.created + report.updated + report.unchanged + report.skipped
        assert report.total == kept + report.duplicates + report.rejected
    return report


def client(database: Database, key: str) -> Client:
    with database.reading() as s:
        return s.scalars(select(Client).where(Client.identity_key == key)).one()


def count(database: Database, model: type[Any]) -> int:
    with database.reading() as s:
        return s.scalars(select(func.count()).select_from(model)).one()


def noted(database: Database, import_id: int) -> list[tuple[str, int, str, str]]:
    """(severity, row, column, reason) of all that was left out or kept."""
    with database.reading() as s:
        rows = s.scalars(
            select(ImportReject).where(ImportReject.import_id == import_id).order_by(ImportReject.id)
        )
        return [(row.severity, row.row_number, row.column_name, row.reason) for row in rows]
