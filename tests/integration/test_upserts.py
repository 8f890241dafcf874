"""Clients created and updated by the thousand, on a real database."""

from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from db.engine import Database
from db.models import Client, ClientList, ClientListMember, ImportChange
from db.queries import imports, parameters, upserts
from db.queries.import_writing import CleanRows, advance_import
from db.queries.upserts import add_members
from db.states import Consent, ImportPolicy


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def row(email: str, **values: Any) -> dict[str, Any]:
    return {"row_number": 2, "identity_key": email, "email": email, **values}


def put(
    database: Database, *rows: dict[str, Any], policy: ImportPolicy = ImportPolicy.UPDATE
) -> tuple[int, int]:
    """An import of the rows; returns how many clients were created and how many were there."""

    def work(session: Session) -> tuple[int, int]:
        found = imports.insert_import(session, filename="a.csv", mapping={"columns": {}}, policy=policy)
        imports.start_import(session, found.id)
        advance_import(session, found.id, CleanRows(0, len(rows), rows))
        done = imports.get_import(session, found.id)
        return done.created_count, done.updated_count + done.unchanged_count + done.skipped_count

    return database.run(work)


def client(database: Database, key: str) -> Client:
    with database.reading() as s:
        return s.scalars(select(Client).where(Client.identity_key == key)).one()


def test_a_new_client_gets_what_the_row_has_and_defaults_for_the_rest(database: Database) -> None:
    given = row(
        "a@x.ie", first_name="Áine", tags=["vip"], custom_fields={"city": "Cork"}, email_consent="granted"
    )
    assert put(database, given) == (1, 0)
    found = client(database, "a@x.ie")
    assert (found.first_name, found.last_name, found.phone) == ("Áine", "", None)
    assert (found.tags, found.custom_fields) == (["vip"], {"city": "Cork"})
    assert (found.email_consent, found.sms_consent) == (Consent.GRANTED, Consent.UNKNOWN)


@pytest.mark.parametrize("empty", [None, ""])
def test_values_overwrite_and_empty_ones_leave_what_is_there(database: Database, empty: str | None) -> None:
    put(
        database,
        row("a@x.ie", first_name="Aine", last_name="Byrne", phone="+353871234567", time_zone="Europe/Dublin"),
    )
    again = row("a@x.ie", first_name="Áine", last_name=empty, phone=empty, time_zone=empty)
    assert put(database, again) == (0, 1)
    found = client(database, "a@x.ie")
    assert (found.first_name, found.last_name) == ("Áine", "Byrne")
    assert (found.phone, found.time_zone) == ("+353871234567", "Europe/Dublin")


def test_tags_are_united_and_custom_fields_merged(database: Database) -> None:
    put(
        database, row("a@x.ie", tags=["vip", "cork"], custom_fields={"city": "Cork", "plan": "basic", "n": 1})
    )
    put(database, row("a@x.ie", tags=["new", "vip"], custom_fields={"plan": "pro", "city": None, "n": ""}))
    found = client(database, "a@x.ie")
    assert found.tags == ["vip", "cork", "new"]
    assert found.custom_fields == {"city": "Cork", "plan": "pro", "n": 1}


@pytest.mark.parametrize(
    ("stored", "given", "after"),
    [
        ("unknown", "granted", "granted"),
        ("unknown", "denied", "denied"),
        ("granted", "denied", "denied"),
        ("granted", "unknown", "granted"),
        ("granted", None, "granted"),
        ("denied", "granted", "denied"),
        ("denied", "unknown", "denied"),
    ],
)
def test_a_denied_consent_is_never_lifted(
    database: Database, stored: str, given: str | None, after: str
) -> None:
    put(database, row("a@x.ie", email_consent=stored, sms_consent=stored))
    put(database, row("a@x.ie", email_consent=given, sms_consent=given))
    found = client(database, "a@x.ie")
    assert (found.email_consent, found.sms_consent) == (after, after)


def test_only_what_is_empty_is_filled(database: Database) -> None:
    put(
        database,
        row("a@x.ie", first_name="Aine", tags=["vip"], custom_fields={"n": 0}, email_consent="granted"),
    )
    given = row(
        "a@x.ie",
        first_name="Áine",
        last_name="Byrne",
        tags=["new"],
        custom_fields={"n": 5, "city": "Cork"},
        email_consent="denied",
        sms_consent="granted",
    )
    assert put(database, given, policy=ImportPolicy.FILL) == (0, 1)
    found = client(database, "a@x.ie")
    assert (found.first_name, found.last_name, found.tags) == ("Aine", "Byrne", ["vip", "new"])
    assert found.custom_fields == {"n": 0, "city": "Cork"}
    assert (found.email_consent, found.sms_consent) == (Consent.GRANTED, Consent.GRANTED)


def test_clients_that_are_to_be_skipped_stay_as_they_are(database: Database) -> None:
    put(database, row("a@x.ie", first_name="Aine"))
    given = row("a@x.ie", first_name="Áine", last_name="Byrne", tags=["new"])
    assert put(database, given, row("b@x.ie"), policy=ImportPolicy.SKIP) == (1, 1)
    found = client(database, "a@x.ie")
    assert (found.first_name, found.last_name, found.tags) == ("Aine", "", [])


def test_what_is_written_over_is_kept(database: Database) -> None:
    put(database, row("a@x.ie", first_name="Aine", tags=["vip"], custom_fields={"city": "Cork", "n": 1}))
    put(database, row("a@x.ie", first_name="Áine", tags=["new"], custom_fields={"n": 2, "x": True}))
    put(database, row("a@x.ie", first_name="Áine"))
    with database.reading() as s:
        (found,) = s.scalars(select(ImportChange)).all()
    assert found.before == {"first_name": "Aine", "tags": ["vip"], "custom_fields": {"n": 1, "x": None}}
    assert found.after == {
        "first_name": "Áine",
        "tags": ["vip", "new"],
        "custom_fields": {"n": 2, "x": True},
    }


def test_accents_and_case_tell_clients_apart(database: Database) -> None:
    assert put(database, row("josé@x.ie"), row("jose@x.ie")) == (2, 0)
    assert put(database, row("josé@x.ie", first_name="José"), row("JOSE@x.ie")) == (1, 1)
    assert client(database, "jose@x.ie").first_name == ""


def test_what_could_be_syntax_is_kept_as_it_is(database: Database) -> None:
    name = """O'Neill "x" \\ %s :rows ? {} \u2028 🍀"""
    put(database, row("a@x.ie", last_name=name, tags=[name], custom_fields={"a.b $": name}))
    put(database, row("a@x.ie", first_name=name, custom_fields={"é": [1, {"x": True}]}))
    found = client(database, "a@x.ie")
    assert (found.first_name, found.last_name, found.tags) == (name, name, [name])
    assert found.custom_fields == {"a.b $": name, "é": [1, {"x": True}]}


def test_rows_that_do_not_fit_one_parameter_travel_in_several(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "PARAMETER_BYTES", 500)
    rows = [row(f"client{number}@x.ie", first_name="x" * (number % 90)) for number in range(50)]
    assert put(database, *rows) == (50, 0)
    assert put(database, *rows, row("new@x.ie")) == (1, 50)


def test_updated_clients_show_when(database: Database) -> None:
    put(database, row("a@x.ie"))
    before = client(database, "a@x.ie")
    put(database, row("a@x.ie", first_name="Áine"))
    after = client(database, "a@x.ie")
    assert after.created_at == before.created_at
    assert after.updated_at > before.updated_at


def test_clients_too_large_to_be_read_together_are_read_one_by_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, *(row(f"client{number}@x.ie", first_name="Áine") for number in range(9)))

    def cut(expression: str) -> str:
        return f"SUBSTR(GROUP_CONCAT({expression}), 1, 200)"

    monkeypatch.setattr(upserts, "gathered", cut)
    assert put(database, *(row(f"client{number}@x.ie", last_name="Byrne") for number in range(9))) == (0, 9)
    assert client(database, "client8@x.ie").first_name == "Áine"


def test_members_are_added_once_and_only_to_a_list_that_exists(database: Database) -> None:
    put(database, row("a@x.ie"), row("b@x.ie"))

    def add_list(session: Session) -> int:
        client_list = ClientList(name="Spring")
        session.add(client_list)
        session.flush()
        return client_list.id

    list_id = database.run(add_list)
    with database.reading() as s:
        ids = s.scalars(select(Client.id)).all()
    database.run(lambda s: add_members(s, list_id, ids[:1], import_id=7))
    database.run(lambda s: add_members(s, list_id, ids, import_id=8))
    database.run(lambda s: add_members(s, list_id + 1, ids))
    with database.reading() as s:
        members = select(ClientListMember.import_id).order_by(ClientListMember.client_id)
        assert s.scalars(members).all() == [7, 8]


def test_two_imports_of_the_same_new_clients_at_once_make_each_client_once(database: Database) -> None:
    barrier = Barrier(2)
    results: dict[str, tuple[int, int]] = {}

    def work(tag: str) -> None:
        rows = [row(f"client{number}@x.ie", tags=[tag]) for number in range(300)]
        barrier.wait()
        results[tag] = put(database, *rows)

    threads = [Thread(target=work, args=(tag,)) for tag in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    created, updated = (sum(counts) for counts in zip(*results.values(), strict=True))
    assert (created, updated) == (300, 300)
    with database.reading() as s:
        assert all(set(tags) == {"one", "two"} for tags in s.scalars(select(Client.tags)))
