"""Dynamic lists: what their rules name, who is on them, how they are counted, and what is sent to them."""

from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import aliased

from db.dialect import time_limit, utc_in
from db.engine import Database
from db.errors import Conflict, Invalid, TookTooLong
from db.fields import FieldKind
from db.models import Client, ClientList, ClientListMember, CustomField, Flow, FormerMember, Message
from db.queries.audience import Target, count_audience
from db.queries.client_lists import (
    delete_client_list,
    delete_members,
    get_client_list,
    insert_client_list,
    insert_members,
    list_members,
    update_client_list,
)
from db.queries.list_counts import counts_of
from db.queries.list_rules import list_rules_naming_field
from db.states import Channel, CountKind, ListKind, MessageState
from tasks.segments.counting import refresh_count, refresh_counts
from tests.builders import add_campaign, add_clients, heard, prepared

VIP = {"field": "tags", "operator": "has_any", "value": ["vip"]}
ANY_AGE = timedelta(0)


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def dynamic(database: Database, name: str, rule: dict[str, Any]) -> int:
    values = {"name": name, "kind": ListKind.DYNAMIC, "rule": rule}
    return database.run(lambda s: insert_client_list(s, values).id)


def change(database: Database, model: Any, row_id: int, **values: Any) -> None:
    """Columns of a row, past everything that looks after them."""
    database.run(lambda s: s.execute(update(model).where(model.id == row_id).values(**values)))


def on(*list_ids: int) -> dict[str, Any]:
    return {"field": "lists", "operator": "has_any", "value": list(list_ids)}


def test_members_are_whom_the_rule_chooses_now(database: Database) -> None:
    ids = database.run(lambda s: add_clients(s, 5))
    list_id = dynamic(database, "VIPs", VIP)
    for client_id in ids[1:4]:
        change(database, Client, client_id, tags=["vip"])
    with database.reading() as s:
        first = list_members(s, list_id, after=0, limit=2)
        assert ([c.id for c in first.items], first.next_cursor) == (ids[1:3], ids[2])
        rest = list_members(s, list_id, after=ids[2], limit=2)
        assert ([c.id for c in rest.items], rest.next_cursor) == ([ids[3]], None)


def test_members_cannot_be_chosen_by_hand(database: Database) -> None:
    ids = database.run(lambda s: add_clients(s, 1))
    list_id = dynamic(database, "VIPs", VIP)
    with pytest.raises(Conflict, match="is dynamic: its members follow from its rule"):
        database.run(lambda s: insert_members(s, list_id, ids))
    with pytest.raises(Conflict, match="is dynamic: its members follow from its rule"):
        database.run(lambda s: delete_members(s, list_id, ids))


def test_a_campaign_goes_to_those_whom_the_rule_chooses_when_it_is_prepared(database: Database) -> None:
    campaign = database.run(lambda s: add_campaign(s, clients=6))
    with database.reading() as s:
        ids = list(s.scalars(select(Client.id).order_by(Client.id)))
    rule = {"all": [on(campaign.client_list.id), {"not": {"message": "sent"}}, VIP]}
    list_id = dynamic(database, "VIPs who got nothing", rule)
    database.run(lambda s: s.execute(update(Client).where(Client.id.in_(ids[:4])).values(tags=["vip"])))
    change(database, Flow, campaign.flow.id, client_list_id=list_id)
    with database.reading() as s:
        target = Target(campaign.flow.id, list_id, Channel.EMAIL, False)
        assert count_audience(s, target).recipients == 4
    flow = campaign.flow
    flow.client_list_id = list_id
    database.run(lambda s: prepared(s, campaign))
    with database.reading() as s:
        written_to = s.scalars(select(Message.client_id).order_by(Message.id)).all()
    assert list(written_to) == ids[:4]
    database.run(
        lambda s: s.execute(
            update(Message).where(Message.client_id == ids[0]).values(state=MessageState.ACCEPTED)
        )
    )
    database.run(lambda s: prepared(s, campaign))
    with database.reading() as s:
        again = s.scalars(select(Message.client_id).order_by(Message.id).offset(4)).all()
    assert list(again) == ids[1:4]


def test_sms_to_a_dynamic_list_goes_to_a_phone_once(database: Database) -> None:
    campaign = database.run(lambda s: add_campaign(s, channel=Channel.SMS))
    database.run(lambda s: add_clients(s, 1, tags=["vip"]))
    database.run(lambda s: add_clients(s, 1, tags=["vip"], email="other@example.com"))
    list_id = dynamic(database, "VIPs", VIP)
    with database.reading() as s:
        found = count_audience(s, Target(campaign.flow.id, list_id, Channel.SMS, False))
    assert (found.total, found.recipients) == (2, 1)


class TestRules:
    def test_a_rule_belongs_to_a_dynamic_list_and_to_no_other(self, database: Database) -> None:
        with pytest.raises(Invalid, match="rule: a dynamic list needs the rule"):
            database.run(lambda s: insert_client_list(s, {"name": "A", "kind": ListKind.DYNAMIC}))
        with pytest.raises(Invalid, match="rule: a static list has no rule"):
            database.run(lambda s: insert_client_list(s, {"name": "A", "rule": VIP}))
        list_id = database.run(lambda s: insert_client_list(s, {"name": "A"}).id)
        with pytest.raises(Invalid, match="this list is static"):
            database.run(lambda s: update_client_list(s, list_id, {"rule": VIP}))
        with pytest.raises(Conflict, match=rf"a list stays static; .*\[{list_id}\]"):
            database.run(lambda s: update_client_list(s, list_id, {"kind": ListKind.DYNAMIC}))

    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            (on(900), r"rule\.value\.0: client list 900 does not exist"),
            ({"not": {"message": "sent", "flow": 7}}, r"rule\.not\.flow: flow 7 does not exist"),
            ({"message": "sent", "execution": 7}, r"rule\.execution: flow execution 7 does not exist"),
            ({"field": "custom.city", "operator": "is_set"}, r"rule\.field: there is no field 'custom.city'"),
        ],
    )
    def test_what_a_rule_names_has_to_be_there(
        self, database: Database, rule: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(Invalid, match=message):
            dynamic(database, "A", rule)

    def test_a_list_cannot_depend_on_itself(self, database: Database) -> None:
        a = dynamic(database, "A", VIP)
        b = dynamic(database, "B", {"not": on(a)})
        c = dynamic(database, "C", {"any": [VIP, on(a, b)]})
        way = rf"rule\.all\.1\.value\.0: the list would depend on itself: 'A' \({a}\) → 'C' \({c}\) → 'A' \({a}\)"
        with pytest.raises(Invalid, match=way):
            database.run(lambda s: update_client_list(s, a, {"rule": {"all": [VIP, on(c)]}}))
        with pytest.raises(Invalid, match=rf"'A' \({a}\) → 'A' \({a}\)"):
            database.run(lambda s: update_client_list(s, a, {"rule": on(a)}))
        database.run(lambda s: update_client_list(s, c, {"rule": on(b)}))

    def test_of_two_who_close_a_cycle_at_once_the_second_waits_and_is_refused(
        self, database: Database
    ) -> None:
        a, b = dynamic(database, "A", VIP), dynamic(database, "B", VIP)
        refused: list[str] = []

        def close() -> None:
            try:
                database.run(lambda s: update_client_list(s, b, {"rule": on(a)}))
            except Invalid as error:
                refused.append(str(error))

        second = Thread(target=close)
        with database.transaction() as s:
            update_client_list(s, a, {"rule": on(b)})
            second.start()
            second.join(timeout=0.3)
            assert second.is_alive()
        second.join()
        assert len(refused) == 1
        assert "would depend on itself" in refused[0]

    def test_rules_do_not_grow_beyond_bounds_by_each_other(self, database: Database) -> None:
        """Eight conditions that name a list of eight, that name a list of eight ... are millions."""
        bottom = dynamic(database, "0", {"any": [VIP] * 8})
        middle = dynamic(database, "1", {"all": [on(bottom)] * 8})
        with pytest.raises(
            Invalid, match="the rule would have 584 conditions with those of the lists it names"
        ):
            dynamic(database, "2", {"all": [on(middle)] * 8})
        # Nor by a change at the bottom of what others name.
        with pytest.raises(Invalid, match=rf"the rule of list '1' \({middle}\) would have 728 conditions"):
            database.run(lambda s: update_client_list(s, bottom, {"rule": {"any": [VIP] * 90}}))

    def test_a_list_that_a_rule_names_stays(self, database: Database) -> None:
        static = database.run(lambda s: insert_client_list(s, {"name": "A"}).id)
        naming = dynamic(database, "B", {"not": on(static)})
        with pytest.raises(Conflict, match=rf"the rules of these lists name it: 'B' \({naming}\)"):
            database.run(lambda s: delete_client_list(s, static))
        database.run(lambda s: delete_client_list(s, naming))
        database.run(lambda s: delete_client_list(s, static))

    def test_rules_that_name_a_custom_field_are_told(self, database: Database) -> None:
        database.run(lambda s: s.add(CustomField(key="city", kind=FieldKind.TEXT)))
        rule = {"all": [VIP, {"not": {"field": "custom.city", "operator": "is", "value": "Cork"}}]}
        list_id = dynamic(database, "Not in Cork", rule)
        with database.reading() as s:
            assert [(r.list_id, r.name) for r in list_rules_naming_field(s, "city")] == [
                (list_id, "Not in Cork")
            ]
            assert list_rules_naming_field(s, "cit") == []


class TestFormerMembers:
    def test_who_is_taken_off_keeps_that_they_were_on_it(self, database: Database) -> None:
        list_id = database.run(lambda s: insert_client_list(s, {"name": "A"}).id)
        ids = database.run(lambda s: add_clients(s, 4, list_id=list_id))
        assert (
            database.run(lambda s: delete_members(s, list_id, [*ids[:2], 900], removed_by="token Ada")) == 2
        )
        assert database.run(lambda s: delete_members(s, list_id, ids[:2], removed_by="token Ada")) == 0
        with database.reading() as s:
            rows = s.scalars(select(FormerMember).order_by(FormerMember.client_id)).all()
            assert [(r.client_list_id, r.client_id, r.removed_by) for r in rows] == [
                (list_id, client_id, "token Ada") for client_id in ids[:2]
            ]
            assert all(row.added_at <= row.removed_at for row in rows)
            left = s.scalars(select(ClientListMember.client_id).order_by(ClientListMember.client_id)).all()
        assert list(left) == ids[2:]

    def test_of_a_deleted_list_all_were_members(self, database: Database) -> None:
        list_id = database.run(lambda s: insert_client_list(s, {"name": "A"}).id)
        database.run(lambda s: add_clients(s, 3, list_id=list_id))
        database.run(lambda s: delete_client_list(s, list_id, deleted_by="token Ada"))
        with database.reading() as s:
            assert s.scalars(select(func.count()).select_from(FormerMember)).one() == 3


class TestCounts:
    def test_small_lists_are_counted_at_once_and_large_ones_are_not(self, database: Database) -> None:
        small = database.run(lambda s: insert_client_list(s, {"name": "A"}).id)
        large = database.run(lambda s: insert_client_list(s, {"name": "B"}).id)
        database.run(lambda s: add_clients(s, 9, list_id=large, tags=["vip"]))
        with database.reading() as s:
            ids = s.scalars(select(Client.id)).all()
        database.run(lambda s: insert_members(s, small, ids[:3]))
        vips = dynamic(database, "VIPs", VIP)

        def counts(live_rows: int) -> dict[int, tuple[CountKind, int | None]]:
            with database.reading() as s:
                lists = [get_client_list(s, each) for each in (small, large, vips)]
                return {k: (v.kind, v.members) for k, v in counts_of(s, lists, live_rows=live_rows).items()}

        assert counts(9) == {each: (CountKind.LIVE, n) for each, n in ((small, 3), (large, 9), (vips, 9))}
        unknown = (CountKind.UNKNOWN, None)
        assert counts(8) == {small: (CountKind.LIVE, 3), large: unknown, vips: unknown}
        assert refresh_counts(database, older_than=ANY_AGE, seconds=10).counts()["counted"] == 3
        assert counts(8) == {
            small: (CountKind.LIVE, 3),
            large: (CountKind.STORED, 9),
            vips: (CountKind.STORED, 9),
        }
        database.run(lambda s: update_client_list(s, vips, {"rule": {"not": VIP}}))
        assert counts(8)[vips] == unknown

    def test_a_page_of_lists_costs_the_same_however_many_they_are(self, database: Database) -> None:
        for number in range(12):
            dynamic(database, str(number), VIP)
        database.run(lambda s: add_clients(s, 5))
        with database.reading() as s:
            lists = s.scalars(select(ClientList)).all()
            with heard(database.engine, "before_cursor_execute") as statements:
                counts_of(s, lists, live_rows=3)
        assert len(statements) <= 3

    def test_the_oldest_counts_are_renewed_first_and_young_ones_not_at_all(self, database: Database) -> None:
        ids = [dynamic(database, str(number), VIP) for number in range(4)]
        for list_id, age in zip(ids, (3600, 7200, 60, None), strict=True):
            tried = None if age is None else utc_in(-age)
            change(database, ClientList, list_id, count_tried_at=tried, count_seconds=0.1)
        older = timedelta(minutes=15)
        done = refresh_counts(database, older_than=older, seconds=10, most_lists=2)
        assert (done.counted, done.left) == (2, 0)
        with database.reading() as s:
            counted = s.scalars(select(ClientList.id).where(ClientList.counted_at.is_not(None))).all()
        assert sorted(counted) == sorted([ids[3], ids[1]])
        assert refresh_counts(database, older_than=older, seconds=10).counted == 1

    def test_a_list_that_takes_long_is_left_alone_for_longer(self, database: Database) -> None:
        list_id = dynamic(database, "A", VIP)
        slow = {"count_tried_at": utc_in(-600), "count_seconds": 31.0}
        database.run(lambda s: s.execute(update(ClientList).where(ClientList.id == list_id).values(**slow)))
        assert refresh_counts(database, older_than=ANY_AGE, seconds=10).counted == 0
        quick = {"count_seconds": 29.0}
        database.run(lambda s: s.execute(update(ClientList).where(ClientList.id == list_id).values(**quick)))
        assert refresh_counts(database, older_than=ANY_AGE, seconds=10).counted == 1

    def test_a_list_that_cannot_be_counted_holds_up_no_other(self, database: Database) -> None:
        broken, sound = dynamic(database, "A", VIP), dynamic(database, "B", VIP)
        rule = {"field": "custom.gone", "operator": "is_set"}
        database.run(lambda s: s.execute(update(ClientList).where(ClientList.id == broken).values(rule=rule)))
        done = refresh_counts(database, older_than=ANY_AGE, seconds=10)
        assert (done.counted, done.failed) == (1, 1)
        with database.reading() as s:
            assert get_client_list(s, sound).counted_at is not None
            assert get_client_list(s, broken).count_tried_at is not None

    def test_a_count_that_takes_too_long_is_given_up_and_the_older_one_stays(
        self, database: Database
    ) -> None:
        list_id = dynamic(database, "A", VIP)
        assert refresh_count(database, list_id, seconds=10) == 0
        database.run(lambda s: add_clients(s, 2000, tags=["vip"]))
        slow = {
            "any": [{"field": "first_name", "operator": "contains", "value": f"n{n}"} for n in range(100)]
        }
        database.run(
            lambda s: s.execute(update(ClientList).where(ClientList.id == list_id).values(rule=slow))
        )
        with pytest.raises(TookTooLong, match=r"counting the list takes longer than 0\.001 seconds"):
            refresh_count(database, list_id, seconds=0.001)
        with database.reading() as s:
            found = get_client_list(s, list_id)
            assert found.member_count == 0
            assert found.counted_at is not None
            assert found.count_tried_at is not None
            assert found.count_tried_at > found.counted_at
        # The connection forgot the limit.
        assert refresh_count(database, list_id, seconds=30) == 0

    def test_a_session_can_be_used_after_its_time_was_over(self, database: Database) -> None:
        """The very same statement, which takes longer than that, is then answered."""
        database.run(lambda s: add_clients(s, 100))
        one, two = aliased(Client), aliased(Client)
        triples = (
            select(func.count())
            .select_from(Client)
            .join(one, one.id != Client.id)
            .join(two, two.id != one.id + Client.id)
        )
        with database.reading() as s:
            with pytest.raises(TookTooLong), time_limit(s, "this", 0.005):
                s.execute(triples)
            assert s.scalars(triples).one() > 900_000
