"""Queries of templates: versions never change, and nobody overwrites a version they have not seen."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import InvalidRequestError

from db.engine import Database
from db.errors import Conflict, NotFound
from db.queries.flows import StepInput, insert_flow
from db.queries.templates import (
    Content,
    archive_template,
    get_template,
    insert_template,
    list_templates,
    list_versions,
    update_template,
)
from db.states import Channel, StepKind

FIRST = Content("Hi", "<p>Hi</p>", "Hi")
SECOND = Content("Hi", "<p>Hello</p>", "Hello")


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def add(database: Database, name: str = "A") -> int:
    return database.run(lambda s: insert_template(s, name, Channel.EMAIL, FIRST).template.id)


def change(database: Database, template_id: int, content: Content, based_on: int) -> int:
    with database.transaction() as s:
        return update_template(s, template_id, name=None, content=content, based_on=based_on).version.version


def test_who_changes_an_old_version_is_told(database: Database) -> None:
    template_id = add(database)
    assert change(database, template_id, SECOND, based_on=1) == 2
    with pytest.raises(Conflict, match="version 2 was made meanwhile"):
        change(database, template_id, Content("Other", "<p>Hi</p>", "Hi"), based_on=1)
    # The same content is no change, whatever it is based on.
    assert change(database, template_id, SECOND, based_on=1) == 2


def test_a_taken_name_leaves_the_session_and_the_version_alone(database: Database) -> None:
    add(database, "A")
    template_id = add(database, "B")
    with database.transaction() as s:
        with pytest.raises(Conflict, match="a template named 'A' exists already"):
            update_template(s, template_id, name="A", content=SECOND, based_on=1)
        assert get_template(s, template_id).version.version == 1
    with database.reading() as s:
        assert [version.version for version in list_versions(s, template_id, before=None, limit=9).items] == [
            1
        ]


def test_versions_are_paged_from_the_newest(database: Database) -> None:
    template_id = add(database)
    for number in range(1, 5):
        change(database, template_id, Content(f"Hi {number}", "", "x"), based_on=number)
    with database.reading() as s:
        page = list_versions(s, template_id, before=None, limit=3)
        assert ([item.version for item in page.items], page.next_cursor) == ([5, 4, 3], 3)
        page = list_versions(s, template_id, before=page.next_cursor, limit=3)
        assert ([item.version for item in page.items], page.next_cursor) == ([2, 1], None)


def test_a_list_does_not_load_the_sources(database: Database) -> None:
    add(database)
    with database.reading() as s:
        (item,) = list_templates(s, after=0, limit=5).items
        assert item.version.subject == "Hi"
        with pytest.raises(InvalidRequestError):
            _ = item.version.html


def test_an_archived_template_cannot_become_a_step(database: Database) -> None:
    template_id = add(database)
    steps = [StepInput(StepKind.SEND, template_id)]
    flow_id = database.run(lambda s: insert_flow(s, {"name": "F"}, steps).id)
    with pytest.raises(Conflict, match=f"flow {flow_id} uses this template"):
        database.run(lambda s: archive_template(s, template_id))
    other = add(database, "B" * 150)
    database.run(lambda s: archive_template(s, other))
    with database.reading() as s, pytest.raises(NotFound):
        get_template(s, other)
    assert add(database, "B" * 150) != other
