"""Tokens: shown once, stored as a hash, used at most once a minute as far as the database knows."""

import re
from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import NoResultFound

from db.dialect import utc_in
from db.engine import Database
from db.errors import NotFound
from db.models import ApiToken
from db.queries.tokens import create_token, find_active_token, revoke_token, touch_token


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def test_only_a_hash_and_a_hint_are_stored(database: Database) -> None:
    plain, token = database.run(lambda s: create_token(s, "till"))
    assert re.fullmatch(r"ics_[0-9A-Za-z]{46}", plain)
    assert plain.startswith(token.hint)
    assert len(token.hint) < 12
    assert plain not in (token.token_hash, token.name)
    with database.reading() as s:
        found = find_active_token(s, plain)
        assert found is not None
        assert (found.id, found.name) == (token.id, "till")


@pytest.mark.parametrize(
    "change", [str.lower, str.upper, str.strip, lambda text: text + " ", lambda text: text[:-1]]
)
def test_only_the_exact_text_is_a_token(database: Database, change: Callable[[str], str]) -> None:
    plain, token = database.run(lambda s: create_token(s, "till"))
    with database.reading() as s:
        found = find_active_token(s, change(plain))
    assert (found is None) == (change(plain) != plain)
    with database.reading() as s:
        assert find_active_token(s, token.token_hash) is None


def test_a_revoked_token_is_not_found(database: Database) -> None:
    plain, token = database.run(lambda s: create_token(s, "till"))
    database.run(lambda s: revoke_token(s, token.id))
    with database.reading() as s:
        assert find_active_token(s, plain) is None
    with pytest.raises(NotFound):
        database.run(lambda s: revoke_token(s, 900_000))


def test_a_use_is_noted_at_most_once_a_minute(database: Database) -> None:
    _, token = database.run(lambda s: create_token(s, "till"))

    def used() -> datetime:
        with database.reading() as s:
            query = select(ApiToken.last_used_at).where(ApiToken.last_used_at.is_not(None))
            return s.scalars(query).one()  # type: ignore[return-value]

    with pytest.raises(NoResultFound):
        used()
    database.run(lambda s: touch_token(s, token.id))
    first = used()
    database.run(lambda s: touch_token(s, token.id))
    assert used() == first
    database.run(lambda s: s.execute(update(ApiToken).values(last_used_at=utc_in(-61))))
    database.run(lambda s: touch_token(s, token.id))
    assert used() > first
