"""Clients created and updated by the thousand, on a real database."""

from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from db.engine import Database
from db.models import Client, ClientList, ClientListMember
from db.queries import upserts
from db.queries.upserts import add_members_by_identity, upsert_clients
from db.states import Consent


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def row(email: str, **values: Any) -> dict[str, Any]:
    return {"identity_key": email, "email": email, **values}


def put(database: Database, *rows: dict[str, Any]) -> tuple[int, int]:
    """Upsert the rows; returns how many clients were created and updated."""
    done = database.run(lambda s: upsert_clients(s, rows))
    return len(done.created), len(done.updated)


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
    monkeypatch.setattr(upserts, "_PARAMETER_BYTES", 500)
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


def test_members_are_added_once_and_only_to_a_list_that_exists(database: Database) -> None:
    put(database, row("a@x.ie"), row("b@x.ie"))

    def add_list(session: Any) -> int:
        client_list = ClientList(name="Spring")
        session.add(client_list)
        session.flush()
        return client_list.id

    list_id = database.run(add_list)
    keys = {"a@x.ie", "b@x.ie", "nobody@x.ie"}
    assert database.run(lambda s: add_members_by_identity(s, list_id, {"a@x.ie"})) == 1
    assert database.run(lambda s: add_members_by_identity(s, list_id, keys)) == 1
    assert database.run(lambda s: add_members_by_identity(s, list_id + 1, keys)) == 0
    with database.reading() as s:
        assert s.scalars(select(func.count()).select_from(ClientListMember)).one() == 2


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
