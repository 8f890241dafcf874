"""Rules on real databases: they choose whom a naive reading of them chooses."""

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Client
from db.queries.segments import segment_condition
from tests.segments import NOW, World, make_world, rules


@pytest.fixture
def world(session: Session) -> World:
    return make_world(session)


def test_a_rule_chooses_whom_a_naive_reading_of_it_chooses(session: Session, world: World) -> None:
    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(rules(world))
    def check(rule: dict[str, object]) -> None:
        condition = segment_condition(session, rule, now=NOW)
        found = session.scalars(select(Client.id).where(condition).order_by(Client.id)).all()
        assert list(found) == world.chosen(rule)
        opposite = segment_condition(
            session, {"not": rule} if "time_zone" not in rule else _negated(rule), now=NOW
        )
        others = session.scalars(select(Client.id).where(opposite)).all()
        assert sorted([*found, *others]) == [person.id for person in world.people]

    check()


def _negated(rule: dict[str, object]) -> dict[str, object]:
    node = {key: value for key, value in rule.items() if key != "time_zone"}
    return {"time_zone": rule["time_zone"], "not": node}
