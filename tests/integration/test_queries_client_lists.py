"""Queries of lists and members."""

from threading import Barrier, Thread

import pytest
from sqlalchemy import Engine

from db.engine import Database
from db.errors import Conflict, Invalid, NotFound
from db.queries.client_lists import (
    count_members,
    delete_client_list,
    delete_members,
    get_client_list,
    insert_client_list,
    insert_members,
    list_members,
    update_client_list,
)
from tests.builders import add_clients


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def test_the_session_goes_on_after_a_conflict(database: Database) -> None:
    with database.transaction() as s:
        insert_client_list(s, {"name": "A"})
        other = insert_client_list(s, {"name": "B"})
        with pytest.raises(Conflict, match="a list named 'A' exists already"):
            insert_client_list(s, {"name": "A"})
        with pytest.raises(Conflict, match="a list named 'A' exists already"):
            update_client_list(s, other.id, {"name": "A"})
        update_client_list(s, other.id, {"description": "kept"})
    with database.reading() as s:
        stored = get_client_list(s, other.id)
        assert (stored.name, stored.description) == ("B", "kept")


def test_the_same_members_at_once_are_added_once(database: Database) -> None:
    list_id = database.run(lambda s: insert_client_list(s, {"name": "A"}).id)
    ids = database.run(lambda s: add_clients(s, 200))
    together = Barrier(3)
    added: list[int] = []

    def add() -> None:
        together.wait()
        added.append(database.run(lambda s: insert_members(s, list_id, ids)))

    threads = [Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(added) == 200
    with database.reading() as s:
        assert count_members(s, [list_id, list_id + 1]) == {list_id: 200}


def test_members_are_paged_by_their_ids(database: Database) -> None:
    list_id = database.run(lambda s: insert_client_list(s, {"name": "A"}).id)
    ids = database.run(lambda s: add_clients(s, 6))
    database.run(lambda s: insert_members(s, list_id, list(reversed(ids[1:]))))
    with database.reading() as s:
        first = list_members(s, list_id, after=0, limit=3)
        assert [client.id for client in first.items] == ids[1:4]
        rest = list_members(s, list_id, after=first.next_cursor or 0, limit=3)
        assert ([client.id for client in rest.items], rest.next_cursor) == (ids[4:], None)
    assert database.run(lambda s: delete_members(s, list_id, ids[:3])) == 2


def test_an_unknown_client_adds_nobody(database: Database) -> None:
    list_id = database.run(lambda s: insert_client_list(s, {"name": "A"}).id)
    ids = database.run(lambda s: add_clients(s, 1))
    with pytest.raises(Invalid, match="these clients do not exist: 900000"):
        database.run(lambda s: insert_members(s, list_id, [*ids, 900_000]))
    with database.reading() as s:
        assert count_members(s, [list_id]) == {}


def test_a_deleted_list_takes_its_memberships_along(database: Database) -> None:
    list_id = database.run(lambda s: insert_client_list(s, {"name": "A"}).id)
    database.run(lambda s: add_clients(s, 2, list_id=list_id))
    database.run(lambda s: delete_client_list(s, list_id))
    with database.reading() as s:
        assert count_members(s, [list_id]) == {}
        with pytest.raises(NotFound):
            get_client_list(s, list_id)
