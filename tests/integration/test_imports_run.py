"""Imports of files, from stored bytes to clients: counts, interruptions, two runs at once, and bad files."""

from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db.engine import Database
from db.models import (
    Client,
    ClientList,
    ClientListMember,
    FailedJob,
    ImportReject,
    MemberImportChunk,
    Unsubscribed,
)
from db.queries import import_writing, imports
from db.queries.custom_fields import ensure_custom_fields
from db.queries.imports import Severity
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, Consent, ImportState, SuppressionReason
from tasks.imports.plan import Wishes, from_stored, parse_mapping, plan_import, to_stored
from tasks.imports.preparing import cut_chunk
from tasks.imports.reading import Chunk, read_chunks
from tasks.imports.run import ImportInterrupted, ImportReport, run_import

CRM_CONTACTS = Path(__file__).parents[3] / "shared" / "data" / "crm-contacts.csv"


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def upload(
    database: Database, data: bytes, folder: Path, *, list_name: str | None = None, **plan: Any
) -> int:
    """Store a file as the API does."""
    path = folder / "upload.csv"
    path.write_bytes(data)
    given = parse_mapping(plan["given"]) if "given" in plan else None
    wishes = Wishes(mapping=given, region=plan.get("region"))
    mapping = plan_import(path, wishes=wishes, default_region="IE").mapping

    def work(session: Session) -> int:
        target = imports.get_target_list(session, list_id=None, name=list_name)
        stored = imports.insert_import(
            session, filename=path.name, mapping=to_stored(mapping), client_list_id=target
        )
        for ordinal, start in enumerate(range(0, len(data), 1000)):
            imports.append_chunk(session, stored, ordinal, data[start : start + 1000])
        ensure_custom_fields(session, mapping.custom_kinds())
        return stored.id

    return database.run(work)


def lines(*rows: str, header: str = "email,first_name,phone,tags,city,newsletter") -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def emails(count: int, start: int = 0) -> list[str]:
    return [f"client{number}@example.com,Client{number}" for number in range(start, start + count)]


def quiet(done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


def do(database: Database, import_id: int, *, chunk_rows: int = 5000) -> ImportReport:
    """Run the import and check what holds for each completed one."""
    report = run_import(database, import_id, on_progress=quiet, chunk_rows=chunk_rows)
    if report.state is ImportState.COMPLETED:
        kept = report.created + report.updated + report.unchanged + report.skipped
        assert report.total == kept + report.duplicates + report.rejected
    return report


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.created, report.updated, report.duplicates, report.rejected


def client(database: Database, key: str) -> Client:
    with database.reading() as s:
        return s.scalars(select(Client).where(Client.identity_key == key)).one()


def count_clients(database: Database) -> int:
    with database.reading() as s:
        return s.scalars(select(func.count()).select_from(Client)).one()


def dying(after_chunks: int, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The database goes away when `after_chunks` chunks are committed, in the middle of the next one."""
    advance = import_writing.advance_import
    taken: list[int] = []

    def failing(session: Session, import_id: int, rows: import_writing.CleanRows) -> None:
        advance(session, import_id, rows)
        taken.append(rows.first_row)
        if len(taken) > after_chunks:
            raise error

    monkeypatch.setattr(import_writing, "advance_import", failing)


def test_a_file_becomes_clients_on_a_list(database: Database, tmp_path: Path) -> None:
    data = lines(
        "Ann@X.ie,Áine,087 123 4567,vip;cork,Cork,yes",
        "josé@x.ie,José,,,Galway,no",
        "jose@x.ie,Jose,,,,",
        "not an address,Nobody,,,,",
        "",
        "ann@x.ie,,,new,,",
    )
    report = do(database, upload(database, data, tmp_path, list_name="Spring"))
    assert (report.state, report.total, counts(report)) == (ImportState.COMPLETED, 5, (3, 0, 1, 1))
    ann = client(database, "ann@x.ie")
    assert (ann.first_name, ann.phone, ann.tags) == ("Áine", "+353871234567", ["vip", "cork", "new"])
    assert (ann.custom_fields, ann.email_consent) == ({"city": "Cork"}, Consent.GRANTED)
    assert client(database, "josé@x.ie").email_consent is Consent.DENIED
    assert client(database, "jose@x.ie").first_name == "Jose"
    with database.reading() as s:
        assert s.scalars(select(func.count()).select_from(ClientListMember)).one() == 3
        rejects = s.scalars(select(ImportReject).order_by(ImportReject.row_number)).all()
    assert [(r.severity, r.row_number, r.reason) for r in rejects] == [
        ("reject", 5, "invalid_email"),
        ("warning", 7, "duplicate_in_file"),
    ]


def test_a_second_import_updates_and_leaves_what_the_file_leaves_empty(
    database: Database, tmp_path: Path
) -> None:
    do(
        database,
        upload(database, lines("ann@x.ie,Ann,087 123 4567,vip,Cork,no"), tmp_path, list_name="Spring"),
    )
    report = do(database, upload(database, lines("ANN@x.ie,Áine,,new,,yes"), tmp_path, list_name="Spring"))
    assert counts(report) == (0, 1, 0, 0)
    ann = client(database, "ann@x.ie")
    assert (ann.first_name, ann.phone, ann.tags) == ("Áine", "+353871234567", ["vip", "new"])
    assert (ann.custom_fields, ann.email_consent) == ({"city": "Cork"}, Consent.DENIED)
    with database.reading() as s:
        assert s.scalars(select(func.count()).select_from(ClientList)).one() == 1


def test_suppressions_are_not_touched(database: Database, tmp_path: Path) -> None:
    import_id = upload(database, lines("ann@x.ie,Ann,,,,yes"), tmp_path)
    with database.reading() as s:
        at = imports.get_import(s, import_id).created_at
    change = SuppressionChange(Channel.EMAIL, "ann@x.ie", SuppressionReason.UNSUBSCRIBE, at, "test")
    database.run(lambda s: apply_suppressions(s, [change]))
    do(database, import_id)
    with database.reading() as s:
        assert s.scalars(select(Unsubscribed.active)).all() == [True]


def test_progress_goes_from_nothing_to_all_rows(database: Database, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    import_id = upload(database, lines(*emails(25)), tmp_path)
    run_import(database, import_id, on_progress=lambda done, total: seen.append((done, total)), chunk_rows=10)
    assert seen == [(0, 25), (10, 25), (20, 25), (25, 25)]


@pytest.mark.parametrize("after_chunks", [0, 1, 3])
def test_an_import_that_was_cut_goes_on_after_the_last_committed_chunk(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_chunks: int
) -> None:
    rows = [
        *emails(18),
        "client3@example.com,Again",
        "bad",
        *emails(18, start=18),
        "client7@example.com,Again",
    ]
    import_id = upload(database, lines(*rows), tmp_path, list_name="Spring")
    with monkeypatch.context() as patch:
        dying(after_chunks, patch, OperationalError("", {}, Exception("gone away")))
        with pytest.raises(ImportInterrupted) as interrupted:
            do(database, import_id, chunk_rows=10)
    assert interrupted.value.__suppress_context__
    assert count_clients(database) == min(after_chunks * 10, 18 + (after_chunks > 2) * 10)

    report = do(database, import_id, chunk_rows=10)
    assert (report.state, report.total, counts(report)) == (ImportState.COMPLETED, 39, (36, 0, 2, 1))
    assert count_clients(database) == 36
    with database.reading() as s:
        assert s.scalars(select(func.count()).select_from(ClientListMember)).one() == 36
        assert s.scalars(select(func.count()).select_from(ImportReject)).one() == 3
    assert client(database, "client7@example.com").first_name == "Again"


def test_a_run_may_go_on_with_chunks_of_another_size(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = upload(database, lines(*emails(9), "bad", *emails(9), "bad"), tmp_path)
    with monkeypatch.context() as patch:
        dying(1, patch, OperationalError("", {}, Exception("gone away")))
        with pytest.raises(ImportInterrupted):
            do(database, import_id, chunk_rows=7)
    assert counts(do(database, import_id, chunk_rows=4)) == (9, 0, 9, 2)


def test_an_import_that_is_over_is_not_run_again(database: Database, tmp_path: Path) -> None:
    import_id = upload(database, lines(*emails(3)), tmp_path)
    first = do(database, import_id)
    database.run(lambda s: s.execute(update(Client).values(first_name="Changed")))
    assert do(database, import_id) == first
    assert client(database, "client1@example.com").first_name == "Changed"


def test_two_runs_at_once_import_each_row_once(database: Database, tmp_path: Path) -> None:
    import_id = upload(database, lines(*emails(60), *emails(5), "bad"), tmp_path, list_name="Spring")
    barrier = Barrier(2)
    reports: list[ImportReport] = []

    def work() -> None:
        barrier.wait()
        reports.append(run_import(database, import_id, on_progress=quiet, chunk_rows=7))

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 2
    final = do(database, import_id)
    assert (final.state, counts(final)) == (ImportState.COMPLETED, (60, 0, 5, 1))
    assert count_clients(database) == 60


def test_a_run_whose_chunk_is_taken_stops_and_fails_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = upload(database, lines(*emails(20)), tmp_path)

    def overtaken(done: int, total: int | None) -> None:
        if done == 5:
            do(database, import_id, chunk_rows=5)

    report = run_import(database, import_id, on_progress=overtaken, chunk_rows=5)
    assert (report.state, counts(report)) == (ImportState.COMPLETED, (20, 0, 0, 0))


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"\x89PNG\r\n\x1a\n" + b"\x00" * 100, "picture"), (b"", "empty")],
    ids=["picture", "empty"],
)
def test_a_file_that_cannot_be_read_fails_the_import_with_the_reason(
    database: Database, tmp_path: Path, data: bytes, words: str
) -> None:
    import_id = upload(database, lines(*emails(1)), tmp_path)
    replace_file(database, import_id, data)
    report = do(database, import_id)
    assert report.state is ImportState.FAILED
    assert words in (report.error or "")
    with database.reading() as s:
        assert s.scalars(select(FailedJob.error)).one() == report.error
        assert b"".join(imports.read_file(s, import_id)) == data


def test_a_mapping_that_does_not_fit_fails_the_import_and_imports_nothing(
    database: Database, tmp_path: Path
) -> None:
    import_id = upload(database, lines(*emails(1)), tmp_path)
    replace_file(database, import_id, lines(*emails(5), header="mail,first_name"))
    report = do(database, import_id)
    assert (report.state, count_clients(database)) == (ImportState.FAILED, 0)
    assert "email" in (report.error or "")


def test_an_unexpected_error_fails_the_import_without_quoting_the_file(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = upload(database, lines(*emails(20)), tmp_path)
    with monkeypatch.context() as patch:
        dying(1, patch, RuntimeError("client11@example.com"))
        report = do(database, import_id, chunk_rows=10)
    assert report.state is ImportState.FAILED
    assert "RuntimeError" in (report.error or "")
    assert "@" not in (report.error or "")

    database.run(lambda s: imports.requeue_import(s, import_id))
    assert counts(do(database, import_id, chunk_rows=10)) == (20, 0, 0, 0)


def test_a_list_that_is_deleted_meanwhile_does_not_stop_the_import(
    database: Database, tmp_path: Path
) -> None:
    import_id = upload(database, lines(*emails(3)), tmp_path, list_name="Spring")
    database.run(lambda s: s.delete(s.scalars(select(ClientList)).one()))
    assert do(database, import_id).state is ImportState.COMPLETED


def test_a_mapping_keeps_its_order_in_every_database(database: Database, tmp_path: Path) -> None:
    given = '{"zz": "email", "a": "phone", "mm": "custom.z", "b": "custom.a"}'
    import_id = upload(database, lines("x@x.ie,1,2,3", header="zz,a,mm,b"), tmp_path, given=given)
    with database.reading() as s:
        stored = from_stored(imports.get_import(s, import_id).mapping)
    assert [name for name, _ in stored.targets] == ["zz", "a", "mm", "b"]
    assert stored.default_region == "IE"


def test_every_row_of_a_real_export_is_accounted_for(database: Database, tmp_path: Path) -> None:
    if not CRM_CONTACTS.exists():
        pytest.skip(f"there is no {CRM_CONTACTS.name}")
    data = CRM_CONTACTS.read_bytes()
    first = do(database, upload(database, data, tmp_path, list_name="CRM"), chunk_rows=100)
    assert first.state is ImportState.COMPLETED
    assert first.total == sum(chunk.row_count for chunk in read_chunks(CRM_CONTACTS, chunk_rows=1000))
    assert first.created == count_clients(database) > 0
    again = do(database, upload(database, data, tmp_path, list_name="CRM"))
    assert (again.unchanged, again.updated + again.unchanged) == (
        first.created - again.updated,
        first.created,
    )
    assert (again.created, again.duplicates, again.rejected) == (0, first.duplicates, first.rejected)
    assert count_clients(database) == first.created


BY_NAME = '{"email": "email", "phone": "phone"}'
CELLS = st.sampled_from(["a@x.ie", "A@x.ie", "á@x.ie", "b@x.ie", "c@x.ie", "bad", "", "+353871234567"])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=25), sizes=st.tuples(*[st.integers(1, 9)] * 2))
def test_counts_add_up_and_do_not_depend_on_chunks(
    database: Database, tmp_path: Path, rows: Sequence[tuple[str, str]], sizes: tuple[int, int]
) -> None:
    data = lines(*(f"{email},{phone}" for email, phone in rows), header="email,phone")
    found = []
    for size in sizes:
        database.run(lambda s: s.execute(Client.__table__.delete()))  # type: ignore[attr-defined]
        report = do(database, upload(database, data, tmp_path, given=BY_NAME), chunk_rows=size)
        assert report.created == count_clients(database)
        with database.reading() as s:
            page = imports.list_rejects(s, report.import_id, after=0, limit=100, severity=Severity.REJECT)
        assert len(page.items) == report.rejected
        found.append((report.total, counts(report)))
    assert found[0] == found[1]


def test_a_chunk_is_cut_between_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "upload.csv"
    path.write_bytes(lines("a@x.ie,A", "b@x.ie,B,x,x", "c@x.ie,C", "d@x.ie,D", header="email,first_name"))
    chunk = next(read_chunks(path, chunk_rows=10))

    def numbers(part: Chunk) -> list[int]:
        return sorted([*part.frame.index.tolist(), *(found.row_number for found in part.rejects)])

    for count in range(-1, 6):
        first, rest = cut_chunk(chunk, count)
        kept = min(max(count, 0), 4)
        assert (first.first_row, first.row_count, rest.first_row, rest.row_count) == (0, kept, kept, 4 - kept)
        assert (len(numbers(first)), numbers(first) + numbers(rest)) == (kept, [2, 3, 4, 5])


def replace_file(database: Database, import_id: int, data: bytes) -> None:
    """As if another file had been stored."""

    def work(session: Session) -> None:
        stored = imports.get_import(session, import_id)
        session.execute(delete(MemberImportChunk).where(MemberImportChunk.import_id == import_id))
        if data:
            imports.append_chunk(session, stored, 0, data)

    database.run(work)
