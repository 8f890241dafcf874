"""People who were erased or suppressed, policies, dry runs, and the log of consents: what an import may do to whom."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from db.engine import Database
from db.errors import Conflict
from db.fields import FieldKind
from db.models import (
    Client,
    ClientListMember,
    ConsentChange,
    CustomField,
    ImportChange,
    ImportReject,
)
from db.queries import field_definitions, imports
from db.queries.custom_fields import list_field_types
from db.queries.import_undo import request_undo
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, Consent, ImportPolicy, ImportState, SuppressionReason
from settings import get_settings
from tasks.erasure import erased_address
from tasks.imports.run import run_import
from tasks.signing import secret_key
from tests.integration.imports import client, count, noted, run, store

COLUMNS = {
    "Email": "email",
    "Phone": "phone",
    "Name": "first_name",
    "News": "email_consent",
    "SMS": "sms_consent",
}


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def suppress(
    database: Database,
    channel: Channel,
    address: str,
    reason: SuppressionReason = SuppressionReason.UNSUBSCRIBE,
    *,
    scope: int = 0,
    active: bool = True,
) -> None:
    change = SuppressionChange(
        channel, address, reason, datetime(2026, 1, 1, tzinfo=UTC), "test", scope=scope, active=active
    )
    database.run(lambda s: apply_suppressions(s, [change]))


def erase(database: Database, channel: Channel, address: str) -> None:
    key = secret_key(get_settings())
    suppress(database, channel, erased_address(key, channel, address), SuppressionReason.ERASED)


def consents(database: Database) -> list[tuple[str, str, str, str | None]]:
    with database.reading() as s:
        rows = s.scalars(select(ConsentChange).order_by(ConsentChange.client_id, ConsentChange.id))
        return [(row.channel, row.consent, row.source, row.wording) for row in rows]


class TestSuppressed:
    def test_an_import_resubscribes_nobody(self, database: Database) -> None:
        suppress(database, Channel.EMAIL, "ann@x.ie")
        suppress(database, Channel.SMS, "+353871234567", SuppressionReason.STOP)
        import_id = store(database, COLUMNS, "ann@x.ie,0871234567,Ann,yes,yes", "bob@x.ie,,Bob,yes,")
        report = run(database, import_id)
        assert (report.created, report.warnings) == (2, 2)
        ann = client(database, "ann@x.ie")
        assert (ann.first_name, ann.email_consent, ann.sms_consent) == (
            "Ann",
            Consent.UNKNOWN,
            Consent.UNKNOWN,
        )
        assert client(database, "bob@x.ie").email_consent is Consent.GRANTED
        assert noted(database, import_id) == [
            ("warning", 2, "News", "suppressed"),
            ("warning", 2, "SMS", "suppressed"),
        ]

    def test_the_stored_address_counts_where_the_row_has_none(self, database: Database) -> None:
        run(database, store(database, COLUMNS, "ann@x.ie,0871234567,Ann,,"))
        suppress(database, Channel.SMS, "+353871234567", SuppressionReason.STOP)
        run(database, store(database, COLUMNS, "ann@x.ie,,Ann,,yes"))
        assert client(database, "ann@x.ie").sms_consent is Consent.UNKNOWN

    def test_a_denial_is_taken_and_a_lifted_or_narrow_suppression_is_none(self, database: Database) -> None:
        suppress(database, Channel.EMAIL, "ann@x.ie")
        suppress(database, Channel.EMAIL, "bob@x.ie", active=False)
        suppress(database, Channel.EMAIL, "cat@x.ie", scope=7)
        rows = ("ann@x.ie,,,no,", "bob@x.ie,,,yes,", "cat@x.ie,,,yes,")
        report = run(database, store(database, COLUMNS, *rows))
        found = [client(database, f"{name}@x.ie").email_consent for name in ("ann", "bob", "cat")]
        assert found == [Consent.DENIED, Consent.GRANTED, Consent.GRANTED]
        assert report.warnings == 0

    def test_a_consent_that_the_client_has_already_is_no_matter(self, database: Database) -> None:
        run(database, store(database, COLUMNS, "ann@x.ie,,,yes,"))
        suppress(database, Channel.EMAIL, "ann@x.ie")
        report = run(database, store(database, COLUMNS, "ann@x.ie,,,yes,"))
        assert (report.unchanged, report.warnings) == (1, 0)


class TestErased:
    def test_an_erased_person_does_not_come_back(self, database: Database) -> None:
        erase(database, Channel.EMAIL, "ann@x.ie")
        erase(database, Channel.SMS, "+353871234567")
        rows = ("Ann@X.ie,,Ann,yes,", "bob@x.ie,087 123 4567,Bob,,", ",0871234567,Cat,,", "dan@x.ie,,Dan,,")
        import_id = store(database, COLUMNS, *rows, list_name="Spring")
        report = run(database, import_id)
        assert (report.created, report.rejected, report.warnings) == (2, 2, 1)
        assert client(database, "bob@x.ie").phone is None
        assert count(database, ClientListMember) == 2
        assert noted(database, import_id) == [
            ("reject", 2, "Email", "erased"),
            ("warning", 3, "Phone", "erased"),
            ("reject", 4, "Phone", "erased"),
        ]

    def test_nothing_of_them_is_kept_in_the_report(self, database: Database) -> None:
        erase(database, Channel.EMAIL, "ann@x.ie")
        run(database, store(database, COLUMNS, "ann@x.ie,,Ann,,"))
        with database.reading() as s:
            (found,) = s.scalars(select(ImportReject)).all()
        assert (found.value, found.cells) == ("", None)
        assert "ann" not in found.message

    def test_their_address_is_not_kept_beside_another_one(self, database: Database) -> None:
        erase(database, Channel.EMAIL, "ann@home.ie")
        columns = {"Work": "email", "Home": "email:2"}
        import_id = store(database, columns, "ann@x.ie,ann@home.ie", "bob@x.ie,bob@home.ie")
        run(database, import_id)
        assert client(database, "ann@x.ie").custom_fields == {}
        assert client(database, "bob@x.ie").custom_fields == {"home": "bob@home.ie"}
        assert noted(database, import_id) == [("warning", 2, "home", "erased")]

    @pytest.mark.parametrize("chunk_rows", [1, 3])
    def test_they_are_counted_alike_in_chunks_of_any_size(self, database: Database, chunk_rows: int) -> None:
        erase(database, Channel.EMAIL, "ann@x.ie")
        rows = ("ann@x.ie,,Ann,,", "ann@x.ie,,Anne,,", "bob@x.ie,,,,")
        report = run(database, store(database, COLUMNS, *rows), chunk_rows=chunk_rows)
        assert (report.created, report.duplicates, report.rejected) == (1, 1, 1)


class TestPolicies:
    @pytest.mark.parametrize(
        ("policy", "name", "counts"),
        [
            (ImportPolicy.UPDATE, "Áine", (1, 2, 1, 0)),
            (ImportPolicy.FILL, "Aine", (1, 1, 2, 0)),
            (ImportPolicy.SKIP, "Aine", (1, 0, 0, 3)),
        ],
    )
    def test_what_is_done_with_clients_that_are_there(
        self, database: Database, policy: ImportPolicy, name: str, counts: tuple[int, ...]
    ) -> None:
        run(database, store(database, COLUMNS, "a@x.ie,,Aine,,", "b@x.ie,,,,", "c@x.ie,,Cat,,"))
        rows = ("a@x.ie,,Áine,,", "b@x.ie,,Bob,,", "c@x.ie,,Cat,,", "d@x.ie,,Dan,,")
        report = run(database, store(database, COLUMNS, *rows, policy=policy, list_name="Spring"))
        assert (report.created, report.updated, report.unchanged, report.skipped) == counts
        assert client(database, "a@x.ie").first_name == name
        assert count(database, ClientListMember) == 4

    @pytest.mark.parametrize("policy", list(ImportPolicy))
    def test_what_a_file_does_does_not_depend_on_its_chunks(
        self, database: Database, policy: ImportPolicy
    ) -> None:
        found = []
        rows = (
            "a@x.ie,,,no,",
            "b@x.ie,,Bob,,",
            "a@x.ie,0871234567,Ann,yes,",
            "a@x.ie,,Anna,,yes",
            "b@x.ie,,Rob,,",
            "c@x.ie,,Cat,,",
            "c@x.ie,,Kate,,",
        )
        for chunk_rows in (1, 2, 7):
            database.run(lambda s: s.execute(Client.__table__.delete()))  # type: ignore[attr-defined]
            run(database, store(database, COLUMNS, "a@x.ie,,,,", "c@x.ie,,Cat,,"))
            report = run(database, store(database, COLUMNS, *rows, policy=policy), chunk_rows=chunk_rows)
            values = [
                (each.first_name, each.phone, each.email_consent, each.sms_consent)
                for each in (client(database, "a@x.ie"), client(database, "b@x.ie"))
            ]
            found.append((report.counts(), values))
        assert found[0] == found[1] == found[2]


class TestDryRuns:
    def test_a_dry_run_counts_what_a_run_does_and_changes_nothing(self, database: Database) -> None:
        erase(database, Channel.EMAIL, "gone@x.ie")
        suppress(database, Channel.EMAIL, "no@x.ie")
        run(database, store(database, COLUMNS, "a@x.ie,,Aine,,", "b@x.ie,,Bob,,"))
        rows = (
            *("a@x.ie,,Áine,yes,", "b@x.ie,,Bob,,", "c@x.ie,,,,", "c@x.ie,,,,", "bad,,,,", "gone@x.ie,,,,"),
            *("no@x.ie,,,yes,", "d@x.ie,01 888 8888 x12,,,"),
        )
        before = [count(database, model) for model in (Client, ConsentChange, ImportChange, CustomField)]
        dry = store(database, COLUMNS, *rows, list_name="Spring", dry_run=True)
        would = run(database, dry, chunk_rows=3)
        after = [count(database, model) for model in (Client, ConsentChange, ImportChange, CustomField)]
        assert (after, count(database, ClientListMember)) == (before, 0)
        assert client(database, "a@x.ie").first_name == "Aine"
        real = store(database, COLUMNS, *rows, list_name="Spring")
        assert run(database, real, chunk_rows=3).counts() == would.counts()
        assert noted(database, dry) == noted(database, real)
        assert count(database, ClientListMember) == 5

    def test_a_dry_run_has_nothing_to_undo(self, database: Database) -> None:
        import_id = store(database, COLUMNS, "a@x.ie,,,,", dry_run=True)
        assert run(database, import_id).state is ImportState.COMPLETED
        with pytest.raises(Conflict, match="dry run"):
            database.run(lambda s: request_undo(s, import_id))


class TestConsentLog:
    def test_each_consent_that_an_import_sets_is_logged_with_its_source(self, database: Database) -> None:
        first = store(database, COLUMNS, "a@x.ie,,,yes,", "b@x.ie,,,,no", "c@x.ie,,,,")
        run(database, first)
        second = store(database, COLUMNS, "a@x.ie,,,yes,", "b@x.ie,,,no,yes", "c@x.ie,,,,")
        run(database, second)
        assert consents(database) == [
            ("email", "granted", f"import {first}", "column 'News' of clients.csv"),
            ("sms", "denied", f"import {first}", "column 'SMS' of clients.csv"),
            ("email", "denied", f"import {second}", "column 'News' of clients.csv"),
        ]


class TestCustomFields:
    def test_values_are_stored_by_their_kind(self, database: Database) -> None:
        columns = {
            "Email": "email",
            "Born": "custom.born:date",
            "Visits": "custom.visits:number",
            "Member": "custom.member:boolean",
        }
        options = {"date_order": "dmy", "decimal": ","}
        rows = ("a@x.ie,03/04/1985,1.234,ja", "b@x.ie,tomorrow,many,perhaps")
        import_id = store(database, columns, *rows, options=options)
        report = run(database, import_id)
        assert client(database, "a@x.ie").custom_fields == {
            "born": "1985-04-03",
            "visits": 1234,
            "member": True,
        }
        assert client(database, "b@x.ie").custom_fields == {}
        assert report.warnings == 3
        assert [reason for *_, reason in noted(database, import_id)] == [
            "invalid_date",
            "invalid_number",
            "invalid_boolean",
        ]

    def test_the_kind_at_the_time_of_the_run_decides(self, database: Database) -> None:
        import_id = store(database, {"Email": "email", "Plan": "custom.plan"}, "a@x.ie,PRO", "b@x.ie,gold")

        def define(session: object) -> None:
            field = session.scalars(select(CustomField)).one()  # type: ignore[attr-defined]
            field.kind, field.choices = FieldKind.CHOICE, ["Pro", "Basic"]

        database.run(define)
        run(database, import_id)
        assert client(database, "a@x.ie").custom_fields == {"plan": "Pro"}
        assert noted(database, import_id) == [("warning", 3, "Plan", "invalid_choice")]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda s: field_definitions.delete_custom_field(s, "plan"), "was deleted"),
            (
                lambda s: field_definitions.update_custom_field(s, "plan", {"kind": FieldKind.NUMBER}),
                "was changed",
            ),
            (
                lambda s: field_definitions.update_custom_field(s, "plan", {"choices": ["Basic"]}),
                "was changed",
            ),
        ],
    )
    def test_a_field_that_changes_meanwhile_stops_the_import_before_a_value_that_does_not_fit(
        self, database: Database, change: Callable[[Session], object], reason: str
    ) -> None:
        import_id = self.plans(database)
        report = run_import(database, import_id, on_progress=self.at_row(2, database, change), chunk_rows=2)
        assert report.state is ImportState.FAILED
        assert f"custom_fields.plan: the field {reason}" in (report.error or "")
        assert count(database, Client) == 2

    def test_another_choice_and_another_label_meanwhile_are_welcome(self, database: Database) -> None:
        def change(session: Session) -> None:
            values = {"label": "Tariff", "choices": ["Team", "Basic", "Pro"]}
            field_definitions.update_custom_field(session, "plan", values)

        import_id = self.plans(database)
        report = run_import(database, import_id, on_progress=self.at_row(2, database, change), chunk_rows=2)
        assert (report.state, report.created) == (ImportState.COMPLETED, 4)
        assert client(database, "d@x.ie").custom_fields == {"plan": "Pro"}

    @staticmethod
    def plans(database: Database) -> int:
        """An import whose first two rows have no plan."""
        values = {"key": "plan", "kind": FieldKind.CHOICE, "choices": ["Basic", "Pro"]}
        database.run(lambda s: field_definitions.insert_custom_field(s, values))
        rows = ("a@x.ie,", "b@x.ie,", "c@x.ie,Basic", "d@x.ie,Pro")
        return store(database, {"Email": "email", "Plan": "custom.plan"}, *rows)

    @staticmethod
    def at_row(
        row: int, database: Database, change: Callable[[Session], object]
    ) -> Callable[[int, int | None], None]:
        def progress(done: int, total: int | None) -> None:
            if done == row:
                database.run(change)

        return progress

    def test_addresses_beside_the_chosen_one_define_their_fields_when_they_occur(
        self, database: Database
    ) -> None:
        columns = {"Work": "email", "Home": "email:2", "Tel": "phone"}
        run(database, store(database, columns, "a@x.ie,,01 888 8888"))
        with database.reading() as s:
            assert list_field_types(s) == {}
        import_id = store(database, columns, "a@x.ie,b@x.ie,01 888 8888 x12")
        run(database, import_id)
        with database.reading() as s:
            assert {key: field.kind for key, field in list_field_types(s).items()} == {
                "home": FieldKind.TEXT,
                "phone_extension": FieldKind.TEXT,
            }
            assert imports.get_import(s, import_id).new_fields == ["home", "phone_extension"]


def test_a_rejected_row_keeps_its_cells_as_they_were(database: Database) -> None:
    rows: Sequence[str] = ("bad, 12 ,Ann,yes,", "a@x.ie,,,,,too,many")
    run(database, store(database, COLUMNS, *rows))
    with database.reading() as s:
        found = s.scalars(select(ImportReject).order_by(ImportReject.row_number)).all()
    assert [(each.reason, each.cells) for each in found] == [
        ("invalid_email", ["bad", "12 ", "Ann", "yes", ""]),
        ("too_many_cells", ["a@x.ie", "", "", "", "", "too", "many"]),
    ]
