"""Queries of single clients: conflicts leave the session usable, and reads follow an index."""

from collections.abc import Sequence
from threading import Barrier, Thread

import pytest
from sqlalchemy import Engine, update

from db.engine import Database
from db.errors import Conflict, Invalid
from db.fields import FieldKind
from db.models import Client
from db.queries.client_search import Way, by_email, by_name, search_clients
from db.queries.clients import get_client, insert_client, update_client
from db.queries.custom_fields import ensure_custom_fields
from tests.builders import add_clients, heard


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def test_the_session_goes_on_after_a_conflict(database: Database) -> None:
    with database.transaction() as s:
        ann = insert_client(s, {"email": "ann@x.ie", "first_name": "Ann"}).id
        bob = insert_client(s, {"email": "bob@x.ie"}).id
        with pytest.raises(Conflict, match=f"client {ann} has this email already"):
            insert_client(s, {"email": "ann@x.ie"})
        with pytest.raises(Conflict, match=f"client {ann} has this email already"):
            update_client(s, bob, {"email": "ann@x.ie", "first_name": "Bob"})
        with pytest.raises(Invalid):
            update_client(s, bob, {"email": None})
        update_client(s, ann, {"last_name": "O'Neill"})
    with database.reading() as s:
        stored = get_client(s, bob)
        assert (stored.email, stored.identity_key, stored.first_name) == ("bob@x.ie", "bob@x.ie", "")
        assert get_client(s, ann).last_name == "O'Neill"


def test_of_two_at_once_one_creates_the_client(database: Database) -> None:
    together = Barrier(2)
    results: list[str] = []

    def create() -> None:
        together.wait()
        try:
            database.run(lambda s: insert_client(s, {"email": "ann@x.ie"}))
            results.append("created")
        except Conflict:
            results.append("conflict")

    threads = [Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["conflict", "created"]


def test_two_merges_of_custom_fields_at_once_lose_nothing(database: Database) -> None:
    client_id = database.run(lambda s: insert_client(s, {"email": "ann@x.ie"}).id)
    kinds = {f"f{number}": FieldKind.NUMBER for number in range(4)}
    database.run(lambda s: ensure_custom_fields(s, kinds))
    together = Barrier(4)

    def merge(number: int) -> None:
        together.wait()
        database.run(lambda s: update_client(s, client_id, {"custom_fields": {f"f{number}": number}}))

    threads = [Thread(target=merge, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as s:
        assert get_client(s, client_id).custom_fields == {f"f{number}": number for number in range(4)}


def test_a_prefix_finds_bytes_and_not_patterns(database: Database) -> None:
    emails = ["ann@x.ie", "a_n@x.ie", "a%n@x.ie", "áine@x.ie", "b@x.ie"]
    with database.transaction() as s:
        for email in emails:
            insert_client(s, {"email": email})
        insert_client(s, {"phone": "+353871234567"})

    def found(prefix: str) -> list[str | None]:
        with database.reading() as s:
            return [
                client.email
                for client in search_clients(s, by_email(prefix.lower()), after=0, limit=10).items
            ]

    assert found("A") == ["a%n@x.ie", "a_n@x.ie", "ann@x.ie"]
    assert found("a_") == ["a_n@x.ie"]
    assert found("á") == ["áine@x.ie"]
    assert found("") == sorted(emails, key=str.encode)


@pytest.mark.parametrize(
    ("ways", "index"),
    [
        (by_email("client17"), "clients_email"),
        (by_name("O'Neill"), "clients_last_name_first_name"),
        (by_name("Client17")[1:], "clients_first_name"),
    ],
)
def test_a_search_follows_an_index(engine: Engine, ways: Sequence[Way], index: str) -> None:
    """Nothing is sorted, and nothing is read that does not match, however many clients there are."""
    database = Database(engine)
    ids = database.run(lambda s: add_clients(s, 2000))
    with database.transaction() as s:
        others = ~Client.id.between(ids[100], ids[400])
        s.execute(update(Client).where(others).values(last_name="Smith"))
    with heard(engine, "before_cursor_execute") as executed, database.reading() as s:
        search_clients(s, ways[:1], after=ids[171], limit=5)
    ((_, _, statement, parameters, *_),) = (each for each in executed if "LIMIT" in each[2])
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        plan = str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all())
    assert f"ix_ics_automation_{index}" in plan
    assert "filesort" not in plan
    assert "TEMP B-TREE" not in plan


NAMES = [
    ("Ann", "Byrne"),
    ("ann", "byrne"),
    ("Byrne", "Ann"),
    ("Anna Maria", "O'Brien"),
    ("Bo_b", "An%na"),
    ("", "Ann"),
    ("Zoe", ""),
]


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Last names come before first names; within both in their order, and nobody comes twice.
        ("ann", ["Ann", "Byrne Ann", "Ann Byrne", "ann byrne", "Anna Maria O'Brien"]),
        ("ann byr", ["Ann Byrne", "ann byrne", "Byrne Ann"]),
        ("byrne, ANN", ["Ann Byrne", "ann byrne"]),
        ("an%", ["Bo_b An%na"]),
        ("anna maria", ["Anna Maria O'Brien"]),
        ("nobody", []),
    ],
)
def test_names_are_found_by_the_beginning_of_either(
    database: Database, text: str, expected: list[str], limit: int
) -> None:
    with database.transaction() as s:
        for number, (first, last) in enumerate(NAMES):
            insert_client(s, {"email": f"c{number}@x.ie", "first_name": first, "last_name": last})
    found, after = [], 0
    while True:
        with database.reading() as s:
            page = search_clients(s, by_name(text), after=after, limit=limit)
        found += [f"{client.first_name} {client.last_name}".strip() for client in page.items]
        if page.next_cursor is None:
            break
        after = page.next_cursor
    assert found == expected
