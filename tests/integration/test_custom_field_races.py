"""Clients are written while the definitions of their fields change: whoever comes second sees what the first one did."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest
from sqlalchemy import Engine

from db.engine import Database, Session
from db.errors import Conflict, Invalid, NotFound
from db.fields import FieldKind
from db.models import Client
from db.queries import field_definitions
from db.queries.clients import insert_client, update_client
from db.queries.custom_fields import ensure_custom_fields

# Long enough for the second one to reach the first one's lock. Were it later, it would find the first one's work all the same.
HEAD_START = 0.3


@pytest.fixture
def database(engine: Engine) -> Database:
    database = Database(engine)
    database.run(lambda s: ensure_custom_fields(s, {"visits": FieldKind.NUMBER}))
    return database


def write(session: Session) -> Client:
    return insert_client(session, {"email": "ann@x.example", "custom_fields": {"visits": 3}})


def to_text(session: Session) -> None:
    field_definitions.update_custom_field(session, "visits", {"kind": FieldKind.TEXT})


def test_a_kind_waits_for_a_client_who_is_being_written(database: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            write(session)
            second = pool.submit(database.run, to_text)
            wait([second], timeout=HEAD_START)
        with pytest.raises(Conflict, match="1 client has"):
            second.result()


def test_a_deletion_waits_for_a_client_who_is_being_written(database: Database) -> None:
    client_id = database.run(lambda s: insert_client(s, {"email": "ann@x.example"}).id)
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            update_client(session, client_id, {"custom_fields": {"visits": 3}})
            second = pool.submit(database.run, lambda s: field_definitions.delete_custom_field(s, "visits"))
            wait([second], timeout=HEAD_START)
        with pytest.raises(Conflict, match="1 client has a value in it"):
            second.result()


def test_a_client_waits_for_a_kind_that_is_being_changed(database: Database) -> None:
    second: Future[Client]
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            to_text(session)
            second = pool.submit(database.run, write)
            wait([second], timeout=HEAD_START)
        with pytest.raises(Invalid, match="text is needed"):
            second.result()


def test_of_two_who_delete_a_field_at_once_one_finds_it_gone(database: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            field_definitions.delete_custom_field(session, "visits")
            second = pool.submit(database.run, lambda s: field_definitions.delete_custom_field(s, "visits"))
            wait([second], timeout=HEAD_START)
        with pytest.raises(NotFound):
            second.result()
