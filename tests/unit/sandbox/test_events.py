"""What becomes of messages: seeded, and like the real mix."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.config import SandboxConfig
from sandbox.events import Mail, mail_events
from sandbox.journal import Accepted
from sandbox.parcels import (
    DELIVERY_ROUTE,
    MAX_BYTES,
    MAX_EVENTS,
    REPLY_ROUTE,
    SENDGRID_ROUTE,
    Due,
    parcels_of,
)
from sandbox.reports import SHORT_CODE, sms_events

HTML = '<a href="https://shop.example.com/sale">Sale</a> <a href="https://x.ie/unsubscribe/t">Unsubscribe</a>'
MANY = 20_000


def config(**changes: Any) -> SandboxConfig:
    plain = SandboxConfig(Path("nowhere"), "k", "s", "http://127.0.0.1:9", "secret")
    return dataclasses.replace(plain, **{"duplicate_rate": 0.0, "disorder_rate": 0.0} | changes)


def accepted(number: int = 1, uid: str = "k3f9a0b1c2d4", address: str = "ann@example.com") -> Accepted:
    return Accepted(1_790_000_000.5, "sendgrid", "request", f"{uid}-{number}", address, "Hello", "digest")


def mail(number: int = 1, **changes: Any) -> Mail:
    return Mail(accepted(number), {"ics_message": f"k3f9a0b1c2d4-{number}"}, html=HTML, **changes)


def read(due: list[Due]) -> list[dict[str, Any]]:
    return [orjson.loads(item.payload) for item in due]


@pytest.fixture(scope="module")
def crowd() -> list[list[dict[str, Any]]]:
    """The events of many emails, each in the order they happened."""
    return [read(list(mail_events(config(), mail(number)))) for number in range(MANY)]


class TestDeterminism:
    @given(seed=st.integers(0, 2**32), number=st.integers(0, 10**9))
    def test_seed_and_reference_decide(self, seed: int, number: int) -> None:
        spoiling = config(seed=seed, duplicate_rate=0.5, disorder_rate=0.5)
        assert list(mail_events(spoiling, mail(number))) == list(mail_events(spoiling, mail(number)))
        phone = accepted(number, address="+353861234567")
        assert list(sms_events(spoiling, phone, "TheShop")) == list(sms_events(spoiling, phone, "TheShop"))

    @given(number=st.integers(0, 10**9))
    def test_another_run_of_the_same_campaign_has_the_same_fate(self, number: int) -> None:
        fates = []
        for uid in ("k3f9a0b1c2d4", "zzzzzzzzzzzz"):
            events = read(list(mail_events(config(), Mail(accepted(number, uid), html=HTML))))
            fates.append([event["event"] for event in events])
        assert fates[0] == fates[1]

    def test_another_seed_gives_others(self) -> None:
        fates = [[read(list(mail_events(config(seed=seed), mail(n)))) for n in range(100)] for seed in (1, 2)]
        assert fates[0] != fates[1]


class TestMix:
    def test_is_like_the_real_one(self, crowd: list[list[dict[str, Any]]]) -> None:
        messages: Counter[str] = Counter()
        for events in crowd:
            messages.update({event.get("type", event["event"]) for event in events})
        share = {kind: count / MANY for kind, count in messages.items()}
        assert 0.95 < share["delivered"] < 0.985
        assert 0.005 < share["bounce"] < 0.02
        assert 0.005 < share["blocked"] < 0.025
        assert 0.003 < share["dropped"] < 0.012
        assert 0.3 < share["open"] < 0.42
        assert 0.04 < share["click"] < 0.08
        assert 0.0003 < share["spamreport"] < 0.003
        assert 0.002 < share["unsubscribe"] < 0.007
        assert "group_unsubscribe" not in share

    def test_whoever_gets_nothing_reads_nothing(self, crowd: list[list[dict[str, Any]]]) -> None:
        for events in crowd:
            kinds = {event["event"] for event in events}
            if kinds & {"bounce", "dropped"}:
                assert kinds <= {"bounce", "dropped", "processed"}

    def test_machine_opens_are_marked(self, crowd: list[list[dict[str, Any]]]) -> None:
        opens = Counter(
            event["sg_machine_open"] for events in crowd for event in events if event["event"] == "open"
        )
        assert opens[True] > 1000
        assert opens[False] > 1000

    def test_clicks_are_on_links_of_the_content(self, crowd: list[list[dict[str, Any]]]) -> None:
        urls = {event["url"] for events in crowd for event in events if event["event"] == "click"}
        assert urls == {"https://shop.example.com/sale"}

    def test_an_unsubscribe_group_has_its_own_event(self) -> None:
        events = [e for n in range(3000) for e in read(list(mail_events(config(), mail(n, asm_group_id=7))))]
        assert {event["asm_group_id"] for event in events} == {7}
        assert any(event["event"] == "group_unsubscribe" for event in events)

    def test_what_is_not_tracked_is_not_reported(self) -> None:
        untracked = {"is_open_tracked": False, "is_click_tracked": False}
        kinds = {
            e["event"] for n in range(300) for e in read(list(mail_events(config(), mail(n, **untracked))))
        }
        assert not kinds & {"open", "click"}


class TestFields:
    def test_every_event_says_whom_when_and_carries_our_arguments(
        self, crowd: list[list[dict[str, Any]]]
    ) -> None:
        for number, events in enumerate(crowd[:2000]):
            assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
            for event in events:
                assert event["email"] == "ann@example.com"
                assert event["ics_message"] == f"k3f9a0b1c2d4-{number}"
                assert 1_790_000_000 <= event["timestamp"] < 1_790_000_010

    def test_ids_are_unique_and_sometimes_missing_as_in_life(self, crowd: list[list[dict[str, Any]]]) -> None:
        events = [event for events in crowd for event in events]
        ids = [event["sg_event_id"] for event in events if "sg_event_id" in event]
        assert len(set(ids)) == len(ids)
        assert {e["event"] for e in events if "sg_event_id" not in e} == {"unsubscribe"}
        assert {e["event"] for e in events if "sg_message_id" not in e} == {"bounce"}
        assert all(e["sg_message_id"].startswith("request.") for e in events if "sg_message_id" in e)

    def test_bounces_say_why(self, crowd: list[list[dict[str, Any]]]) -> None:
        bounces = [event for events in crowd for event in events if event["event"] == "bounce"]
        assert {bounce["type"] for bounce in bounces} == {"bounce", "blocked"}
        assert all(bounce["reason"] and bounce["bounce_classification"] for bounce in bounces)

    @pytest.mark.parametrize(("given_", "expected"), [((), None), (("a",), "a"), (("a", "b"), ["a", "b"])])
    def test_one_category_is_a_string_and_several_an_array(
        self, given_: tuple[str, ...], expected: Any
    ) -> None:
        [event, *_] = read(list(mail_events(config(), mail(categories=given_))))
        assert event.get("category") == expected

    def test_our_arguments_do_not_hide_the_event(self) -> None:
        [event, *_] = read(
            list(mail_events(config(), Mail(accepted(), {"event": "x", "email": "y", "shop": "z"})))
        )
        assert event["event"] in {"processed", "dropped"}
        assert event["email"] == "ann@example.com"
        assert event["shop"] == "z"


class TestSpoiling:
    def test_copies_say_the_same_some_under_another_id(self) -> None:
        due = [item for n in range(500) for item in mail_events(config(duplicate_rate=1.0), mail(n))]
        events = read(due)
        ids = {event.pop("sg_event_id", None) for event in events}
        said = Counter(orjson.dumps(event, option=orjson.OPT_SORT_KEYS) for event in events)
        assert min(said.values()) >= 2
        assert any(key.endswith("-1") for key in ids if key)

    def test_some_come_behind_later_ones(self) -> None:
        posted = sorted(
            (item for n in range(300) for item in mail_events(config(disorder_rate=0.2), mail(n))),
            key=lambda item: item.due_at,
        )
        order = [event["event"] for event in read(posted) if event["ics_message"].endswith("-5")]
        in_life = [event["event"] for event in read(list(mail_events(config(), mail(5))))]
        assert sorted(order) == sorted(in_life)
        times = [event["timestamp"] for event in read(posted)]
        assert times != sorted(times)


class TestSms:
    def reports(self, sender: str, count: int = 5000) -> list[Due]:
        return [
            item
            for number in range(count)
            for item in sms_events(config(), accepted(number, address="+353861234567"), sender)
        ]

    def test_reports_name_station_number_and_reference(self) -> None:
        due = [item for item in self.reports("TheShop") if item.route == DELIVERY_ROUTE]
        reports = read(due)
        statuses = Counter(report["Status"] for report in reports)
        assert statuses["DISPATCHED"] == 5000
        assert 0.93 < statuses["DELIVRD"] / 5000 < 0.98
        assert {"UNDELIV", "EXPIRED", "REJECTD", "FAILED", "OPTED OUT - BLOCKED"} <= set(statuses)
        assert {report["Phonenumber"] for report in reports} == {"353861234567"}
        assert reports[0]["CustomerID"] == "k3f9a0b1c2d4-0"
        assert set(reports[0]) == {"EventID", "Phonenumber", "DataType", "Status", "CustomerID"}

    def test_a_number_gets_replies_of_all_kinds(self) -> None:
        replies = read([item for item in self.reports("+353871111111") if item.route == REPLY_ROUTE])
        assert {reply["sentto"] for reply in replies} == {"353871111111"}
        assert {"STOP", "Thanks!", "bus stop at 5?"} <= {reply["command"] for reply in replies}

    def test_a_name_gets_opt_outs_by_short_code_only(self) -> None:
        replies = read([item for item in self.reports("TheShop") if item.route == REPLY_ROUTE])
        assert replies
        assert {reply["sentto"] for reply in replies} == {SHORT_CODE}
        assert {reply["command"].strip().upper() for reply in replies} <= {"STOP", "UNSUBSCRIBE", "OPT OUT"}


class TestParcels:
    @given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from([SENDGRID_ROUTE, DELIVERY_ROUTE]))))
    def test_hold_everything_once_in_order_and_never_early(self, moments: list[tuple[float, str]]) -> None:
        due = [Due(moment, route, b'{"n":%d}' % n) for n, (moment, route) in enumerate(moments)]
        parcels = list(parcels_of(due))
        for route in (SENDGRID_ROUTE, DELIVERY_ROUTE):
            ours = sorted((item for item in due if item.route == route), key=lambda item: item.due_at)
            sent = [p for p in parcels if p.route == route]
            packed = [n["n"] for p in sent for n in orjson.loads(b"[" + p.payload + b"]")]
            assert packed == [orjson.loads(item.payload)["n"] for item in ours]
            assert sum(p.events for p in sent) == len(ours)
            assert all(p.due_at in {item.due_at for item in ours} for p in sent)

    def test_are_no_larger_than_a_post(self) -> None:
        many = list(parcels_of(Due(0, SENDGRID_ROUTE, b"{}") for _ in range(2500)))
        assert [parcel.events for parcel in many] == [MAX_EVENTS, MAX_EVENTS, 500]
        large = list(parcels_of(Due(0, SENDGRID_ROUTE, b"x" * 300_000) for _ in range(5)))
        assert [parcel.events for parcel in large] == [2, 2, 1]
        assert all(len(parcel.payload) <= MAX_BYTES for parcel in large)
