"""An import is taken back: what it created goes, what it changed is as before, and what people did since stays."""

from typing import Any

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db.dialect import utc_in
from db.engine import Database
from db.errors import Conflict, NotFound
from db.fields import FieldKind
from db.models import (
    Client,
    ClientList,
    ClientListMember,
    ConsentChange,
    FormerMember,
    ImportChange,
    MemberImport,
    MemberImportChunk,
    Message,
)
from db.queries import field_definitions, import_undo, imports
from db.queries.import_undo import request_undo
from db.queries.imports import list_undispatched_imports, requeue_import, start_import
from db.states import Channel, Consent, ImportState, MessageState
from tasks.imports.run import ImportInterrupted, ImportReport
from tasks.imports.undo import undo
from tests.builders import add_campaign, prepared
from tests.integration.imports import client, count, noted, quiet, run, store

COLUMNS = {
    "Email": "email",
    "Phone": "phone",
    "Name": "first_name",
    "Tags": "tags",
    "City": "custom.city",
    "Visits": "custom.visits:number",
    "News": "email_consent",
}
BEFORE = "a@x.ie,,Aine,vip,Cork,,"
CHANGED = "a@x.ie,0871234567,Áine,new,Sligo,5,yes"


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def imported(database: Database, *rows: str, **options: Any) -> int:
    import_id = store(database, COLUMNS, *rows, **options)
    assert run(database, import_id).state is ImportState.COMPLETED
    return import_id


def undone(database: Database, import_id: int) -> ImportReport:
    database.run(lambda s: request_undo(s, import_id))
    report = run(database, import_id)
    assert (report.state, report.error) == (ImportState.UNDONE, None)
    return report


def change(database: Database, key: str, **values: Any) -> None:
    """As a person would, some time after the import."""
    later = {"updated_at": utc_in(60), **values}
    database.run(lambda s: s.execute(update(Client).where(Client.identity_key == key).values(later)))


def facts(database: Database) -> list[dict[str, Any]]:
    """All that clients are, but for when they were changed."""
    with database.reading() as s:
        rows = s.execute(select(Client.__table__).order_by(Client.id)).mappings().all()
    return [{name: value for name, value in row.items() if name != "updated_at"} for row in rows]


class TestClients:
    def test_everything_is_as_it_was_before(self, database: Database) -> None:
        imported(database, BEFORE, "b@x.ie,,Bob,,,3,no", list_name="Spring")
        before = facts(database)
        rows = (CHANGED, "b@x.ie,,,,Cork,4,", "c@x.ie,,Cat,,,,yes", "c@x.ie,,Kate,,,,", "a@x.ie,,Ann,,,,")
        import_id = imported(database, *rows, list_name="Spring")
        assert facts(database) != before
        report = undone(database, import_id)
        assert facts(database) == before
        assert report.undone == 3
        assert (count(database, ImportChange), count(database, ClientListMember)) == (0, 2)
        assert noted(database, import_id)[-1][0] == "warning"

    def test_a_client_that_is_in_two_chunks_gets_back_what_was_before_the_first(
        self, database: Database
    ) -> None:
        imported(database, BEFORE)
        before = facts(database)
        import_id = store(database, COLUMNS, "a@x.ie,,Ann,x,Sligo,,", "a@x.ie,0871234567,Anna,y,Galway,1,")
        assert run(database, import_id, chunk_rows=1).updated == 1
        undone(database, import_id)
        assert facts(database) == before

    def test_what_somebody_has_changed_since_stays_and_is_told(self, database: Database) -> None:
        imported(database, BEFORE)
        import_id = imported(database, CHANGED)
        change(
            database,
            "a@x.ie",
            first_name="Anna",
            tags=["own", "new", "vip"],
            custom_fields={"city": "Galway", "visits": 5, "x": 1},
        )
        undone(database, import_id)
        found = client(database, "a@x.ie")
        assert (found.first_name, found.phone, found.tags) == ("Anna", None, ["own", "vip"])
        assert found.custom_fields == {"city": "Galway", "x": 1}
        assert [(name, reason) for _, _, name, reason in noted(database, import_id)] == [
            ("first_name", "changed_since"),
            ("custom_fields.city", "changed_since"),
        ]

    def test_a_value_that_its_field_takes_no_more_is_not_brought_back(self, database: Database) -> None:
        imported(database, "a@x.ie,,Aine,,Cork,,", "b@x.ie,,Bob,,Sligo,,")
        import_id = imported(database, "a@x.ie,,Áine,,Sligo,5,", "b@x.ie,,,,Galway,,")
        choice = {"kind": FieldKind.CHOICE, "choices": ["Sligo", "Galway"]}
        database.run(lambda s: field_definitions.update_custom_field(s, "city", choice))
        undone(database, import_id)
        assert client(database, "a@x.ie").custom_fields == {"city": "Sligo"}
        assert client(database, "a@x.ie").first_name == "Aine"
        assert client(database, "b@x.ie").custom_fields == {"city": "Sligo"}
        assert [(name, reason) for _, _, name, reason in noted(database, import_id)] == [
            ("custom_fields.city", "changed_since")
        ]

    def test_a_client_who_was_deleted_since_is_no_matter(self, database: Database) -> None:
        imported(database, BEFORE)
        import_id = imported(database, CHANGED, "c@x.ie,,,,,,")
        database.run(lambda s: s.execute(Client.__table__.delete()))  # type: ignore[attr-defined]
        assert undone(database, import_id).undone == 0

    def test_an_address_that_a_client_is_now_recognised_by_stays(self, database: Database) -> None:
        imported(database, BEFORE)
        import_id = imported(database, CHANGED)
        change(database, "a@x.ie", email=None, identity_key="+353871234567")
        undone(database, import_id)
        assert client(database, "+353871234567").phone == "+353871234567"


class TestCreatedClients:
    def test_those_with_whom_something_happened_are_kept_with_the_reason(self, database: Database) -> None:
        names = ("gone", "changed", "listed", "consented", "written")
        import_id = imported(database, *(f"{name}@x.ie,,,,,," for name in names), list_name="Spring")
        change(database, "changed@x.ie", last_name="Byrne")
        ids = {name: client(database, f"{name}@x.ie").id for name in names}

        def happen(session: Session) -> None:
            other = ClientList(name="Other")
            session.add(other)
            session.flush()
            session.add(ClientListMember(client_list_id=other.id, client_id=ids["listed"]))
            session.add(
                ConsentChange(
                    client_id=ids["consented"], channel=Channel.EMAIL, consent=Consent.GRANTED, source="form"
                )
            )
            campaign = add_campaign(session)
            execution = prepared(session, campaign)
            session.add(
                Message(
                    execution_id=execution.id,
                    step_id=1,
                    client_id=ids["written"],
                    channel=Channel.EMAIL,
                    address="written@x.ie",
                    state=MessageState.ACCEPTED,
                )
            )

        database.run(happen)
        report = undone(database, import_id)
        assert report.undone == 1
        assert [reason for *_, reason in noted(database, import_id)] == [
            "changed_since",
            "consented",
            "on_a_list",
            "written_to",
        ]
        with database.reading() as s:
            assert set(s.scalars(select(Client.id))) == set(ids.values()) - {ids["gone"]}
            assert s.scalars(select(ClientListMember.client_id)).all() == [ids["listed"]]
            assert set(s.scalars(select(FormerMember.removed_by))) == {f"undo of import {import_id}"}

    def test_members_by_hand_stay_on_the_list(self, database: Database) -> None:
        imported(database, BEFORE, list_name="Spring")
        import_id = imported(database, CHANGED, "b@x.ie,,,,,,", list_name="Spring")
        undone(database, import_id)
        assert count(database, ClientListMember) == 1


class TestConsents:
    def test_the_log_says_that_a_consent_was_taken_back(self, database: Database) -> None:
        imported(database, BEFORE)
        import_id = imported(database, CHANGED)
        undone(database, import_id)
        assert client(database, "a@x.ie").email_consent is Consent.UNKNOWN
        with database.reading() as s:
            rows = s.scalars(select(ConsentChange).order_by(ConsentChange.id)).all()
        assert [(row.consent, row.source) for row in rows] == [
            ("granted", f"import {import_id}"),
            ("unknown", f"undo of import {import_id}"),
        ]

    def test_a_consent_that_was_given_again_since_stays(self, database: Database) -> None:
        imported(database, BEFORE)
        import_id = imported(database, CHANGED)
        client_id = client(database, "a@x.ie").id
        given = ConsentChange(
            client_id=client_id, channel=Channel.EMAIL, consent=Consent.GRANTED, source="form"
        )
        database.run(lambda s: s.add(given))
        undone(database, import_id)
        assert client(database, "a@x.ie").email_consent is Consent.GRANTED
        assert noted(database, import_id)[0][2:] == ("email_consent", "changed_since")


class TestSeveralImports:
    ROWS = ("a@x.ie,,Ann,one,Sligo,1,yes", "a@x.ie,0871234567,Anna,two,Galway,2,no")

    @pytest.mark.parametrize("order", [(1, 0), (0, 1)], ids=["later first", "earlier first"])
    def test_two_that_touched_the_same_client_leave_nothing_in_either_order(
        self, database: Database, order: tuple[int, int]
    ) -> None:
        imported(database, BEFORE)
        before = facts(database)
        ids = [imported(database, row) for row in self.ROWS]
        for position in order:
            undone(database, ids[position])
        assert facts(database) == before
        assert all(noted(database, import_id) == [] for import_id in ids)

    def test_what_a_later_import_wrote_stays_when_an_earlier_one_is_undone(self, database: Database) -> None:
        imported(database, BEFORE)
        first, _ = (imported(database, row) for row in self.ROWS)
        undone(database, first)
        found = client(database, "a@x.ie")
        assert (found.first_name, found.tags) == ("Anna", ["vip", "two"])
        assert found.custom_fields == {"city": "Galway", "visits": 2}
        assert found.email_consent is Consent.DENIED


class TestRuns:
    def test_one_that_is_not_over_is_not_undone(self, database: Database) -> None:
        import_id = store(database, COLUMNS, BEFORE)
        with pytest.raises(Conflict, match="queued"):
            database.run(lambda s: request_undo(s, import_id))
        database.run(lambda s: start_import(s, import_id))
        with pytest.raises(Conflict, match="running"):
            database.run(lambda s: request_undo(s, import_id))
        with pytest.raises(NotFound):
            database.run(lambda s: request_undo(s, 999))

    def test_a_second_undo_changes_nothing(self, database: Database) -> None:
        import_id = imported(database, BEFORE)
        first = undone(database, import_id)
        imported(database, BEFORE)
        assert undone(database, import_id) == first
        assert count(database, Client) == 1

    def test_one_that_failed_half_way_is_undone_and_its_file_deleted(self, database: Database) -> None:
        import_id = store(database, COLUMNS, BEFORE)
        database.run(lambda s: imports.fail_import(s, import_id, error="broken"))
        undone(database, import_id)
        assert count(database, MemberImportChunk) == 0

    @pytest.mark.parametrize("pieces", [0, 1, 2, 3, 4, 5])
    def test_one_that_was_cut_goes_on_where_it_was(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, pieces: int
    ) -> None:
        names = "abcdef"
        imported(database, *(f"{name}@x.ie,,Old,,,," for name in names[:3]))
        before = facts(database)
        rows = (f"{name}@x.ie,,New,,,,yes" for name in names)
        import_id = imported(database, *rows, list_name="Spring")
        change(database, "d@x.ie", last_name="Byrne")
        database.run(lambda s: request_undo(s, import_id))
        left = [pieces]

        def dying(session: Session, *given: Any, **values: Any) -> MemberImport:
            left[0] -= 1
            if left[0] < 0:
                raise OperationalError("", {}, Exception("gone away"))
            return held(session, *given, **values)

        held = import_undo._hold
        with monkeypatch.context() as patch:
            patch.setattr(import_undo, "_hold", dying)
            with pytest.raises(OperationalError):
                undo(database, import_id, on_progress=quiet, piece_clients=2)
        report = run(database, import_id)
        assert (report.state, report.undone) == (ImportState.UNDONE, 5)
        assert facts(database)[:3] == before
        assert [reason for *_, reason in noted(database, import_id)] == ["changed_since"]
        with database.reading() as s:
            sources = s.scalars(select(ConsentChange.source)).all()
        assert sources.count(f"undo of import {import_id}") == 3

    def test_progress_goes_from_nothing_to_all_clients(self, database: Database) -> None:
        imported(database, BEFORE)
        import_id = imported(database, CHANGED, *(f"{number}@x.ie,,,,,," for number in range(4)))
        database.run(lambda s: request_undo(s, import_id))
        seen: list[tuple[int, int | None]] = []
        undo(database, import_id, on_progress=lambda done, total: seen.append((done, total)), piece_clients=3)
        assert seen == [(0, 5), (1, 5), (4, 5), (5, 5)]

    def test_the_dispatcher_finds_it_and_a_failed_undo_goes_on_as_one(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import_id = imported(database, BEFORE)
        database.run(lambda s: request_undo(s, import_id))
        with database.reading() as s:
            assert list(list_undispatched_imports(s, orphan_seconds=60, grace_seconds=-5)) == [import_id]

        def broken(*_given: Any, **_values: Any) -> None:
            raise RuntimeError("a@x.ie")

        with monkeypatch.context() as patch:
            patch.setattr(import_undo, "_why_kept", broken)
            report = run(database, import_id)
        assert report.state is ImportState.FAILED
        assert "@" not in (report.error or "")
        database.run(lambda s: requeue_import(s, import_id))
        assert run(database, import_id).state is ImportState.UNDONE
        assert count(database, Client) == 0

    def test_a_database_that_is_away_interrupts_it(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import_id = imported(database, BEFORE)
        database.run(lambda s: request_undo(s, import_id))

        def away(*_given: Any, **_values: Any) -> None:
            raise OperationalError("", {}, Exception("gone away"))

        with monkeypatch.context() as patch:
            patch.setattr(import_undo, "_why_kept", away)
            with pytest.raises(ImportInterrupted):
                run(database, import_id)
        assert run(database, import_id).state is ImportState.UNDONE
