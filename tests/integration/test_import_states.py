"""The life of an import in the database: the stored file, the fence around chunks, what may follow what."""

from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_in
from db.engine import Database
from db.errors import Conflict, NotFound
from db.models import Client, FailedJob, ImportReject, MemberImport, MemberImportChunk
from db.queries import imports
from db.queries.import_writing import CleanRows, RejectRow, advance_import
from db.queries.imports import Severity
from db.states import ImportState


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def add_import(database: Database, *pieces: bytes) -> int:
    def work(session: Session) -> int:
        member_import = imports.insert_import(session, filename="clients.csv", mapping={"columns": {}})
        for ordinal, piece in enumerate(pieces):
            imports.append_chunk(session, member_import, ordinal, piece)
        return member_import.id

    return database.run(work)


def start(database: Database, *, total_rows: int = 4) -> int:
    import_id = add_import(database, b"email\n")
    database.run(lambda s: imports.start_import(s, import_id))
    database.run(lambda s: imports.record_total_rows(s, import_id, total_rows))
    return import_id


def get(database: Database, import_id: int) -> MemberImport:
    with database.reading() as s:
        return imports.get_import(s, import_id)


def client(row_number: int, email: str) -> dict[str, Any]:
    return {"row_number": row_number, "identity_key": email, "email": email}


def rows(first_row: int, *emails: str, row_count: int | None = None) -> CleanRows:
    clients = [client(number, email) for number, email in enumerate(emails, first_row + 2)]
    return CleanRows(first_row=first_row, row_count=row_count or len(emails), clients=clients)


def reject(row_number: int, severity: str = "reject") -> RejectRow:
    return RejectRow(Severity(severity), row_number, "email", "x" * 200, "bad_email", "not an address")


def test_a_file_comes_back_as_it_went_in(database: Database) -> None:
    import_id = add_import(database, b"\x00\xff" * 500_000, b"\r\n", b"end")
    with database.reading() as s:
        assert b"".join(imports.read_file(s, import_id)) == b"\x00\xff" * 500_000 + b"\r\nend"
    found = get(database, import_id)
    assert (found.size_bytes, found.state, found.done_rows, found.total_rows) == (
        1_000_005,
        ImportState.QUEUED,
        0,
        None,
    )


def test_a_chunk_moves_clients_rejects_and_counts_together(database: Database) -> None:
    import_id = start(database)
    database.run(lambda s: advance_import(s, import_id, rows(0, "a@x.ie", "b@x.ie")))
    second = CleanRows(
        first_row=2,
        row_count=5,
        clients=[client(4, "a@x.ie"), client(7, "c@x.ie")],
        duplicates=1,
        repeated={"a@x.ie"},
        rejects=[reject(5), reject(6), reject(6)],
        warnings=[reject(3, "warning")],
    )
    database.run(lambda s: advance_import(s, import_id, second))
    found = get(database, import_id)
    assert found.done_rows == 7
    assert (found.created_count, found.updated_count) == (3, 0)
    assert (found.duplicate_count, found.rejected_count, found.warning_count) == (2, 2, 1)
    with database.reading() as s:
        page = imports.list_rejects(s, import_id, after=0, limit=2, severity=Severity.REJECT)
        assert [item.row_number for item in page.items] == [5, 6]
        rest = imports.list_rejects(
            s, import_id, after=page.next_cursor or 0, limit=2, severity=Severity.REJECT
        )
        assert [item.row_number for item in rest.items] == [6]
        assert len(page.items[0].value) == 100
        assert imports.count_reasons(s, import_id) == {
            ("reject", "bad_email"): 3,
            ("warning", "bad_email"): 1,
        }


def test_a_chunk_that_was_imported_already_changes_nothing(database: Database) -> None:
    import_id = start(database)
    database.run(lambda s: advance_import(s, import_id, rows(0, "a@x.ie", "b@x.ie")))
    with pytest.raises(Conflict):
        database.run(lambda s: advance_import(s, import_id, rows(0, "z@x.ie", "y@x.ie")))
    assert get(database, import_id).done_rows == 2
    with database.reading() as s:
        assert s.scalars(select(func.count()).select_from(Client)).one() == 2


@pytest.mark.parametrize("end", ["queued", "failed", "completed"])
def test_only_a_running_import_takes_chunks(database: Database, end: str) -> None:
    import_id = start(database)
    database.run(
        lambda s: s.execute(
            update(MemberImport).where(MemberImport.id == import_id).values(state=ImportState(end))
        )
    )
    with pytest.raises(Conflict):
        database.run(lambda s: advance_import(s, import_id, rows(0, "a@x.ie")))


def test_an_import_is_complete_only_at_its_end_and_keeps_no_file(database: Database) -> None:
    import_id = start(database, total_rows=2)
    with pytest.raises(Conflict):
        database.run(lambda s: imports.complete_import(s, import_id))
    database.run(lambda s: advance_import(s, import_id, rows(0, "a@x.ie", "b@x.ie")))
    database.run(lambda s: imports.complete_import(s, import_id))
    found = get(database, import_id)
    assert found.state is ImportState.COMPLETED
    assert found.finished_at is not None
    with database.reading() as s:
        assert s.scalars(select(func.count()).select_from(MemberImportChunk)).one() == 0
    assert database.run(lambda s: imports.start_import(s, import_id)).state is ImportState.COMPLETED


def test_a_failed_import_keeps_its_file_and_goes_on_where_it_was(database: Database) -> None:
    import_id = start(database)
    database.run(lambda s: advance_import(s, import_id, rows(0, "a@x.ie", "b@x.ie")))
    for _ in range(2):
        database.run(lambda s: imports.fail_import(s, import_id, error="the file cannot be read"))
    assert get(database, import_id).error == "the file cannot be read"
    with database.reading() as s:
        jobs = s.scalars(select(FailedJob)).all()
        assert [(job.kind, job.subject) for job in jobs] == [("import", {"import_id": import_id})]
    assert database.run(lambda s: imports.start_import(s, import_id)).state is ImportState.FAILED

    database.run(lambda s: imports.requeue_import(s, import_id))
    again = database.run(lambda s: imports.start_import(s, import_id))
    assert (again.state, again.done_rows, again.error) == (ImportState.RUNNING, 2, None)
    with pytest.raises(Conflict):
        database.run(lambda s: imports.requeue_import(s, import_id))


def test_imports_that_nobody_works_on_are_found(database: Database) -> None:
    def waiting(grace: int = 5) -> list[int]:
        with database.reading() as s:
            return list(imports.list_undispatched_imports(s, orphan_seconds=60, grace_seconds=grace))

    import_id = add_import(database, b"email\n")
    assert waiting() == []
    assert waiting(grace=-5) == [import_id]
    assert database.run(lambda s: imports.next_attempt(s, import_id))[0] == 1
    assert waiting(grace=-5) == []
    database.run(lambda s: imports.release_dispatch(s, import_id))
    assert waiting(grace=-5) == [import_id]

    attempt, uid = database.run(lambda s: imports.next_attempt(s, import_id))
    database.run(lambda s: imports.record_dispatch(s, import_id, "run"))
    assert (attempt, uid) == (2, get(database, import_id).uid)
    database.run(lambda s: imports.start_import(s, import_id))
    assert waiting(grace=-5) == []
    database.run(
        lambda s: s.execute(
            update(MemberImport).where(MemberImport.id == import_id).values(heartbeat_at=utc_in(-61))
        )
    )
    assert waiting() == [import_id]


def test_what_is_not_there_is_said(database: Database) -> None:
    with database.reading() as s, pytest.raises(NotFound):
        imports.get_import(s, 999)
    with pytest.raises(NotFound):
        database.run(lambda s: imports.start_import(s, 999))


def test_rejects_go_with_their_import(database: Database) -> None:
    import_id = start(database)
    chunk = CleanRows(first_row=0, row_count=1, clients=[], rejects=[reject(1)])
    database.run(lambda s: advance_import(s, import_id, chunk))
    database.run(lambda s: s.delete(s.get_one(MemberImport, import_id)))
    with database.reading() as s:
        assert s.scalars(select(func.count()).select_from(ImportReject)).one() == 0
