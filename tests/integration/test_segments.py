"""Rules on real databases: they choose whom a naive reading of them chooses."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine, column, insert, literal, select, table, text, update
from sqlalchemy.orm import Session

from db.dialect import folded
from db.errors import Invalid
from db.models import Client, ClientList, Message
from db.queries.events import assign_events
from db.queries.segments import members_of, segment_condition
from db.segments.texts import fold
from tests.builders import add_clients
from tests.segments import KINDS, NOW, OPERATORS, World, a_condition, make_world, rules


@pytest.fixture
def world(session: Session) -> World:
    return make_world(session)


def chosen(session: Session, rule: dict[str, Any]) -> list[int]:
    condition = segment_condition(session, rule, now=NOW)
    return list(session.scalars(select(Client.id).where(condition).order_by(Client.id)))


def test_a_rule_chooses_whom_a_naive_reading_of_it_chooses(session: Session, world: World) -> None:
    everybody = [person.id for person in world.people]

    @settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
    @given(rules(world))
    def check(rule: dict[str, Any]) -> None:
        found = chosen(session, rule)
        assert found == world.chosen(rule)
        zone = {key: value for key, value in rule.items() if key == "time_zone"}
        node = {key: value for key, value in rule.items() if key != "time_zone"}
        assert sorted([*found, *chosen(session, {**zone, "not": node})]) == everybody

    check()


def test_every_operator_of_every_field_chooses_whom_it_says(session: Session, world: World) -> None:
    chance = random.Random(7)
    for name in sorted(KINDS):
        for operator in OPERATORS[KINDS[name]]:
            for _ in range(4):
                rule = a_condition(chance, name, operator, world)
                assert chosen(session, rule) == world.chosen(rule), rule


def test_case_is_folded_alike_on_every_database(session: Session) -> None:
    """The servers' own table of lower case, character by character: it is what SQLite is given, and what rules go through."""
    points = [point for point in range(1, 0x10000) if not 0xD800 <= point < 0xE000] + [0x10400, 0x1F600]
    for start in range(0, len(points), 4000):
        characters = [chr(point) for point in points[start : start + 4000]]
        found: Any = session.execute(select(folded(literal("\x1f".join(characters))))).scalar_one()
        assert (found.decode() if isinstance(found, bytes) else found) == fold("\x1f".join(characters))


def test_letters_of_a_language_are_found_in_either_case() -> None:
    assert fold("DÚN Laoghaire ÅÄÖ ΣΊΣΥΦΟΣ ЖЁ İzmir") == "dún laoghaire åäö σίσυφοσ жё izmir"
    assert len(fold("ẞß")) == 2


def test_a_value_of_another_kind_than_the_field_is_none(session: Session, world: World) -> None:
    """From before the field was defined. It must not stop a statement that writes, as the snapshot does."""
    custom = {"2nd_visits": "many", "birthday": "soon", "member": "yes", "plan": 5}
    add_clients(session, 1, email="old@example.com", custom_fields=custom)
    for key in ("2nd_visits", "birthday", "member"):
        rule: dict[str, Any] = {"field": f"custom.{key}", "operator": "is_set"}
        assert chosen(session, rule) == world.chosen(rule)
    session.execute(text("CREATE TEMPORARY TABLE found (id BIGINT)"))
    for operator in ("at_least", "at_most", "is"):
        rule = {"field": "custom.2nd_visits", "operator": operator, "value": 0}
        condition = segment_condition(session, rule, now=NOW)
        session.execute(
            insert(table("found", column("id"))).from_select(["id"], select(Client.id).where(condition))
        )
        assert session.execute(text("SELECT COUNT(*) FROM found")).scalar_one() == len(world.chosen(rule))
        session.execute(text("DELETE FROM found"))


def test_a_list_of_either_kind_has_its_members(session: Session, world: World) -> None:
    for list_id in [*world.static, *world.dynamic]:
        client_list = session.get_one(ClientList, list_id)
        rule = {"field": "lists", "operator": "has_any", "value": [list_id]}
        assert sorted(session.scalars(members_of(session, client_list, now=NOW))) == world.chosen(rule)


def test_what_a_rule_names_has_to_be_there(session: Session) -> None:
    gone = {"all": [{"field": "lists", "operator": "has_any", "value": [900]}]}
    with pytest.raises(Invalid, match=r"rule\.all\.0\.value\.0: client list 900 does not exist"):
        segment_condition(session, gone)


@pytest.mark.parametrize(
    "rule",
    [
        {"field": "tags", "operator": "has_any", "value": ["vip"]},
        {
            "all": [
                {"field": "custom.city", "operator": "is", "value": "Cork"},
                {"not": {"message": "opened"}},
            ]
        },
        {"message": "clicked", "when": {"operator": "in_last_days", "value": 30}},
        {"message": "sent"},
    ],
)
def test_the_first_members_are_found_along_the_key(
    session: Session, world: World, rule: dict[str, Any]
) -> None:
    """No sorting, no temporary table, and the ledger and the events by the index that begins with the client."""
    condition = segment_condition(session, rule, now=NOW)
    query = select(Client.id).where(condition).order_by(Client.id).limit(25)
    plan = explained(session, query)
    for word in ("filesort", "temporary", "materialized", "use temp b-tree"):
        assert word not in plan.lower()
    if "message" in str(rule):
        index = "uq_" if rule.get("message") == "sent" else "client_id_kind_occurred_at"
        assert index in plan or "(client_id=?" in plan


def explained(session: Session, query: Any) -> str:
    engine = session.get_bind()
    assert isinstance(engine, Engine)
    sql = str(query.compile(engine, compile_kwargs={"literal_binds": True})).replace("%%", "%")
    prefix = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(str(tuple(row)) for row in session.connection().exec_driver_sql(f"{prefix} {sql}"))


def test_events_follow_their_messages_to_another_client(session: Session, world: World) -> None:
    """As a merge of two clients moves the messages of one to the other."""
    opened = {"message": "opened"}
    giver = next(person for person in world.people if person.id in world.chosen(opened))
    taker = add_clients(session, 1, email="taker@example.com")[0]
    ids = session.scalars(select(Message.id).where(Message.client_id == giver.id)).all()
    session.execute(update(Message).where(Message.id.in_(ids)).values(client_id=taker))
    assign_events(session, ids)
    assert set(chosen(session, opened)) == {*world.chosen(opened), taker} - {giver.id}
