"""Suppressions written together: the law is that of one after the other, in any order and any number of copies."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select

from db.engine import Database
from db.models import Unsubscribed, UnsubscribedChange
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, SuppressionReason
from tests.builders import empty, heard

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHANGES = st.builds(
    SuppressionChange,
    channel=st.sampled_from(Channel),
    address=st.sampled_from(
        ["ann@x.example", "Ann@x.example", "josé@x.example", "jose@x.example", "+353871234567", "'\"\\"]
    ),
    reason=st.sampled_from([SuppressionReason.UNSUBSCRIBE, SuppressionReason.BOUNCE]),
    effective_at=st.integers(0, 3).map(lambda each: NOON + timedelta(microseconds=each)),
    source=st.sampled_from(["sendgrid unsubscribe", "token ada"]),
    active=st.booleans(),
    scope=st.sampled_from([0, 7]),
    evidence=st.sampled_from([None, "550 \n no"]),
)
Key = tuple[Channel, str, int, SuppressionReason]


def model(changes: list[SuppressionChange]) -> dict[Key, tuple[datetime, bool]]:
    """One after the other, as a person would do it."""
    rows: dict[Key, tuple[datetime, bool]] = {}
    for each in changes:
        key = (each.channel, each.address, each.scope, each.reason)
        rows[key] = max(rows.get(key, (each.effective_at, each.active)), (each.effective_at, each.active))
    return rows


def stored(database: Database) -> dict[Key, tuple[datetime, bool]]:
    with database.reading() as s:
        rows = s.scalars(select(Unsubscribed)).all()
        assert all(each.updated_at >= each.created_at for each in rows)
        return {
            (each.channel, each.address, each.scope, each.reason): (each.effective_at, each.active)
            for each in rows
        }


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.lists(CHANGES, max_size=6), max_size=4), chance=st.randoms())
def test_together_is_as_one_after_the_other_in_any_order(
    engine: Engine, pieces: list[list[SuppressionChange]], chance: random.Random
) -> None:
    empty(engine)
    database = Database(engine)
    for piece in pieces:
        database.run(lambda s, some=piece: apply_suppressions(s, some))  # type: ignore[misc]
    every = [each for piece in pieces for each in piece]
    assert stored(database) == model(every)
    again = every * 2
    chance.shuffle(again)
    noted = count_noted(database)
    database.run(lambda s: apply_suppressions(s, again))
    assert stored(database) == model(every)
    # What changes nothing leaves no trace.
    assert count_noted(database) == noted


def count_noted(database: Database) -> int:
    with database.reading() as s:
        return s.scalar(select(func.count()).select_from(UnsubscribedChange)) or 0


def test_each_change_is_kept_with_its_source(engine: Engine) -> None:
    database = Database(engine)
    first = SuppressionChange(
        Channel.EMAIL, "ann@x.example", SuppressionReason.MANUAL, NOON, "token ada", evidence="by phone"
    )
    lifted = replace(first, effective_at=NOON + timedelta(hours=1), source="token bob", active=False)
    for each in (first, first, lifted):
        database.run(lambda s, change=each: apply_suppressions(s, [change]))  # type: ignore[misc]
    with database.reading() as s:
        rows = s.scalars(select(UnsubscribedChange).order_by(UnsubscribedChange.id)).all()
        [row] = s.scalars(select(Unsubscribed)).all()
    assert [(each.active, each.source, each.evidence, each.suppression_id) for each in rows] == [
        (True, "token ada", "by phone", row.id),
        (False, "token bob", "by phone", row.id),
    ]
    database.run(lambda s: s.execute(delete(Unsubscribed)))
    assert count_noted(database) == 0


@pytest.mark.parametrize("size", [1, 5_000])
def test_thousands_are_written_by_a_handful_of_statements(engine: Engine, size: int) -> None:
    database = Database(engine)
    changes = [
        SuppressionChange(Channel.EMAIL, f"c{number}@x.example", SuppressionReason.BOUNCE, NOON, "import")
        for number in range(size)
    ]
    with heard(engine, "before_cursor_execute") as statements:
        database.run(lambda s: apply_suppressions(s, changes))
    writing = [each for each in statements if "unsubscribed" in each[2]]
    assert len(writing) == 3 * -(-size // 2_000)
    assert len(stored(database)) == size
