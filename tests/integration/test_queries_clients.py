"""Queries of single clients: conflicts leave the session usable, and reads follow an index."""

from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Engine, event

from db.engine import Database
from db.errors import Conflict, Invalid
from db.queries.clients import get_client, insert_client, search_clients, update_client
from tests.builders import add_clients


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
            return [client.email for client in search_clients(s, prefix, after=0, limit=10).items]

    assert found("A") == ["a%n@x.ie", "a_n@x.ie", "ann@x.ie"]
    assert found("a_") == ["a_n@x.ie"]
    assert found("á") == ["áine@x.ie"]
    assert found("") == sorted(emails, key=str.encode)


def test_a_search_follows_the_index_of_emails(engine: Engine) -> None:
    """Nothing is sorted, and nothing is read that does not match, however many clients there are."""
    database = Database(engine)
    ids = database.run(lambda s: add_clients(s, 300))
    seen: list[tuple[str, Any]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "LIMIT" in statement and not statement.startswith("EXPLAIN"):
            seen.append((statement, parameters))

    with database.reading() as s:
        search_clients(s, "client17", after=ids[171], limit=5)
    ((statement, parameters),) = seen
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        plan = str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all())
    assert "ix_ics_automation_clients_email" in plan
    assert "filesort" not in plan
    assert "TEMP B-TREE" not in plan
