"""Statistics through the API: counts in groups, over time, by link and domain, side by side; as JSON and as CSV."""

import csv
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from db.engine import Database
from db.models import Message, SendmodeStats
from db.states import Channel
from settings import get_settings
from tests.builders import Campaign, add_campaign
from tests.integration.sent_executions import Sent, report, send_all

SHOP = "https://shop.example.com/spring"


@pytest.fixture
def campaign(database: Database) -> Campaign:
    return database.run(lambda s: add_campaign(s, clients=6))


@pytest.fixture
def execution(database: Database, campaign: Campaign) -> Sent:
    """Five delivered, one of them refused later; two opened (one by a machine too), two clicked; a complaint, a drop."""
    sent = send_all(database, campaign)
    report(
        database,
        [
            *(sent.event(place, "delivered") for place in range(5)),
            sent.event(0, "open", 61),
            sent.event(0, "open", 62),
            sent.event(0, "open", 62, sg_machine_open=True, sg_event_id="machine"),
            sent.event(1, "open", 3600, sg_machine_open=True),
            sent.event(0, "click", 90, url=f"{SHOP}?id=1"),
            sent.event(0, "click", 91, url=f"{SHOP}?id=1"),
            sent.event(2, "click", 90, url=f"{SHOP}?id=2#top"),
            sent.event(3, "click", 90, url="=cmd|' /C calc'!A0", useragent="Barracuda"),
            sent.event(4, "bounce", 99, type="bounce", bounce_classification="Invalid Address"),
            sent.event(3, "spamreport", 86400),
            sent.event(5, "dropped", 0, reason="Spam Content"),
        ],
    )
    return sent


def rows_of(answer: Any) -> list[list[str]]:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    text: str = answer.text
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text[1:])))


def test_counts_come_in_groups_with_their_rates(api: TestClient, execution: Sent) -> None:
    stats = api.get(f"/api/flow-executions/{execution.id}/stats?verify=true").json()
    assert stats["is_equal_to_recount"] is True
    assert stats["opens"] == {
        "unique": 2, "unique_human": 1, "unique_machine": 2, "total": 4, "human": 2, "machine": 2,
    }  # fmt: skip
    assert stats["clicks"] == {
        "unique": 3, "unique_human": 2, "unique_machine": 1, "total": 4, "human": 3, "machine": 1,
    }  # fmt: skip
    assert stats["bounces"] == {
        "messages": 1,
        "hard": {"messages": 1, "by_class": {"invalid_address": 1}},
        "soft": {"messages": 0, "by_class": {}},
    }
    assert stats["drops"] == {"messages": 1, "by_reason": {"spam_content": 1}}
    assert (stats["complaints"], stats["unsubscribes"]) == (1, 0)
    assert stats["rates"]["delivery"] == {"percent": 83.3333, "count": 5, "of": "accepted", "base": 6}
    assert stats["rates"]["open"] == {"percent": 20.0, "count": 1, "of": "delivered", "base": 5}
    assert stats["rates"]["click_by_any"]["percent"] == 60.0
    assert stats["rates"]["complaint"]["of"] == "accepted"
    # What there was before is where it was.
    assert stats["messages"]["delivered"] == 5
    assert stats["sms"]["sent"] == 0
    assert stats["exclusions"] == {}


def test_an_execution_without_a_snapshot_has_zeros_and_no_rates(
    api: TestClient, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.x")
    get_settings.cache_clear()
    execution = api.post(f"/api/flows/{campaign.flow.id}/send").json()
    stats = api.get(f"/api/flow-executions/{execution['id']}/stats").json()
    assert stats["rates"]["open"] == {"percent": None, "count": 0, "of": "delivered", "base": 0}
    assert api.get(f"/api/flow-executions/{execution['id']}/domains").json()["items"] == []
    assert api.get(f"/api/flow-executions/{execution['id']}/links").json()["all"]["links"] == 0
    [compared] = api.get(f"/api/flows/{campaign.flow.id}/comparison").json()["items"]
    assert compared["messages"]["intended"] == 0


def test_sms_have_a_cost_where_a_price_is_known(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send_all(database, database.run(lambda s: add_campaign(s, clients=3, channel=Channel.SMS)))
    database.run(
        lambda s: s.execute(
            update(SendmodeStats).values(
                parts=5, delivered=2, undelivered=1, expired=4, rejected=6, replied=7, opted_out=8
            )
        )
    )
    path = f"/api/flow-executions/{sent.id}/stats"
    assert api.get(path).json()["sms_summary"]["cost"] is None
    monkeypatch.setenv("ICS_SMS_PART_PRICE", "0.0475")
    monkeypatch.setenv("ICS_SMS_CURRENCY", "GBP")
    get_settings.cache_clear()
    found = api.get(path).json()["sms_summary"]
    assert found["rates"]["delivery"] == {"percent": 66.6667, "count": 2, "of": "sent", "base": 3}
    del found["rates"]
    assert found == {
        "sent": 3,
        "parts": 5,
        "delivered": 2,
        "failed": 1,
        "expired": 4,
        "rejected": 6,
        "replies": 7,
        "opt_outs": 8,
        "cost": {"parts": 5, "price_per_part": 0.0475, "amount": 0.2375, "currency": "GBP"},
    }
    header, row = rows_of(api.get(f"/api/flows/{sent.flow_id}/comparison?format=csv"))
    compared = dict(zip(header, row, strict=True))
    assert (compared["sms_parts"], compared["sms_cost"], compared["sms_currency"]) == ("5", "0.2375", "GBP")


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (
            "minute",
            [
                ("14:13:00", {"click": 0, "delivered": 5, "open": 0}),
                ("14:14:00", {"click": 3, "open": 2}),
                ("15:13:00", {"machine_open": 1}),
            ],
        ),
        ("hour", [("14:00:00", {"delivered": 5, "open": 2, "click": 3}), ("15:00:00", {"machine_open": 1})]),
        ("day", [("00:00:00", {"delivered": 5, "machine_open": 2, "spam_report": 0})]),
    ],
)
def test_what_happened_in_each_minute_hour_and_day(
    api: TestClient, execution: Sent, by: str, expected: list[tuple[str, dict[str, int]]]
) -> None:
    path = f"/api/flow-executions/{execution.id}/series"
    found = api.get(path, params={"by": by, "to": "2026-09-22T00:00:00Z"}).json()
    assert found["next_cursor"] is None
    assert [each["at"] for each in found["items"]] == [f"2026-09-21T{time}Z" for time, _ in expected]
    for point, (_, counts) in zip(found["items"], expected, strict=True):
        assert {kind: point["counts"].get(kind, 0) for kind in counts} == counts


def test_the_series_is_cut_by_kind_and_time(api: TestClient, execution: Sent) -> None:
    path = f"/api/flow-executions/{execution.id}/series"
    query = {"by": "minute", "from": "2026-09-21T15:14:00+01:00", "to": "2026-09-21T15:13:00Z"}
    found = api.get(path, params=query | {"kind": ["open", "click"]}).json()["items"]
    assert found == [{"at": "2026-09-21T14:14:00Z", "counts": {"click": 3, "open": 2}}]


@pytest.mark.parametrize("by", ["minute", "hour", "day"])
def test_pages_of_the_series_are_all_of_it(api: TestClient, execution: Sent, by: str) -> None:
    path = f"/api/flow-executions/{execution.id}/series"
    whole = api.get(path, params={"by": by}).json()["items"]
    pages: list[Any] = []
    cursor: int | None = 0
    while cursor is not None and len(pages) <= len(whole):
        page = api.get(path, params={"by": by, "limit": 1, "cursor": cursor}).json()
        assert len(page["items"]) == 1
        pages += page["items"]
        cursor = page["next_cursor"]
    assert pages == whole
    assert sum(each["counts"].get("accepted", 0) for each in whole) == 6


def test_the_series_as_csv_has_a_column_for_each_kind(api: TestClient, execution: Sent) -> None:
    path = f"/api/flow-executions/{execution.id}/series"
    asked = {"by": "hour", "kind": ["delivered", "click"], "format": "csv"}
    assert rows_of(api.get(path, params=asked)) == [
        ["at", "delivered", "click"],
        ["2026-09-21T14:00:00+00:00", "5", "3"],
    ]
    header, *rows = rows_of(api.get(path, params={"format": "csv"}))
    assert header[:4] == ["at", "accepted", "processed", "deferred"]
    assert sum(int(row[1]) for row in rows) == 6


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"by": "year"}, "query.by"),
        ({"kind": "smile"}, "query.kind.0"),
        ({"from": "2026-09-21T15:14:00"}, "query.from"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "query.from"),
        ({"to": "9999-12-31T23:59:59-12:00"}, "query.to"),
        ({"limit": 2001}, "query.limit"),
        ({"cursor": 2**40}, "query.cursor"),
        ({"colour": "red"}, "query.colour"),
    ],
)
def test_what_the_series_cannot_be_cut_by_is_named(
    api: TestClient, execution: Sent, query: dict[str, Any], field: str
) -> None:
    answer = api.get(f"/api/flow-executions/{execution.id}/series", params=query)
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} >= {field} or any(
        error["field"].startswith(field) for error in answer.json()["errors"]
    )


def test_links_are_counted_by_people_and_machines(api: TestClient, execution: Sent) -> None:
    path = f"/api/flow-executions/{execution.id}/links"
    found = api.get(path).json()
    assert found["items"] == [
        {"url": f"{SHOP}?id=1", "total": 2, "human": 2, "machine": 0, "people": 1},
        {"url": "=cmd|' /C calc'!A0", "total": 1, "human": 0, "machine": 1, "people": 0},
        {"url": f"{SHOP}?id=2#top", "total": 1, "human": 1, "machine": 0, "people": 1},
    ]
    assert found["all"] == {"links": 3, "total": 4, "human": 3, "machine": 1, "people": 2}
    few = api.get(f"{path}?limit=1").json()
    assert (few["items"], few["all"]) == (found["items"][:1], found["all"])


def test_links_to_the_same_page_are_one(api: TestClient, database: Database, execution: Sent) -> None:
    report(database, [execution.event(2, "click", 3600, url=f"{SHOP}#end")])
    found = api.get(f"/api/flow-executions/{execution.id}/links?by=page").json()
    assert found["items"][0] == {"url": SHOP, "total": 4, "human": 4, "machine": 0, "people": 2}
    assert found["all"]["links"] == 2


def test_links_that_differ_in_case_or_at_their_end_are_different(
    api: TestClient, database: Database, campaign: Campaign
) -> None:
    sent = send_all(database, campaign)
    long = "https://a.example/" + "x" * 1200
    urls = [f"{long}1", f"{long}2", "https://a.example/A", "https://a.example/a", "https://a.example/a "]
    report(database, [sent.event(0, "click", n, url=url, sg_event_id=f"c{n}") for n, url in enumerate(urls)])
    found = api.get(f"/api/flow-executions/{sent.id}/links").json()
    assert {each["url"] for each in found["items"]} == set(urls)
    assert found["all"]["links"] == 5


def test_no_link_is_run_as_a_formula(api: TestClient, execution: Sent) -> None:
    rows = rows_of(api.get(f"/api/flow-executions/{execution.id}/links?format=csv"))
    assert rows[0] == ["url", "total", "human", "machine", "people"]
    assert ["'=cmd|' /C calc'!A0", "1", "0", "1", "0"] in rows


def test_domains_show_what_became_of_their_messages_and_the_rest(
    api: TestClient, database: Database, execution: Sent
) -> None:
    def move(s: Any) -> None:
        for place, domain in enumerate(["a.example", "A.example", "a.example", "b.example", "c.example"]):
            ours = Message.id == execution.ids[place]
            s.execute(update(Message).where(ours).values(address=f"someone@{domain}"))
        s.execute(update(Message).where(Message.id == execution.ids[5]).values(address=None))

    database.run(move)
    path = f"/api/flow-executions/{execution.id}/domains"
    found = api.get(f"{path}?limit=1").json()
    assert found["items"] == [
        {
            "domain": "a.example", "intended": 3, "excluded": 0, "accepted": 3, "delivered": 3, "deferred": 0,
            "bounced": 0, "blocked": 0, "dropped": 0, "opened": 1, "clicked": 2, "complained": 0, "unsubscribed": 0,
        }
    ]  # fmt: skip
    rest = found["rest"]
    assert (rest["domains"], rest["intended"], rest["bounced"], rest["complained"]) == (2, 2, 1, 1)
    names = [each["domain"] for each in api.get(path).json()["items"]]
    assert names == ["a.example", "b.example", "c.example"]
    rows = rows_of(api.get(f"{path}?limit=1&format=csv"))
    assert [row[:2] for row in rows] == [["domain", "intended"], ["a.example", "3"], ["", "2"]]


def test_executions_of_a_flow_stand_side_by_side(
    api: TestClient, database: Database, campaign: Campaign, execution: Sent
) -> None:
    second = send_all(database, campaign)
    path = f"/api/flows/{campaign.flow.id}/comparison"
    page = api.get(f"{path}?limit=1").json()
    [first] = page["items"]
    assert (first["execution_id"], first["rates"]["delivery"]["percent"]) == (execution.id, 83.3333)
    assert first["warning"] is None
    rest = api.get(f"{path}?limit=1&cursor={page['next_cursor']}").json()
    assert [each["execution_id"] for each in rest["items"]] == [second.id]
    assert rest["next_cursor"] is None
    header, *rows = rows_of(api.get(f"{path}?format=csv"))
    compared = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["execution_id"] for row in compared] == [str(execution.id), str(second.id)]
    assert (compared[0]["delivered"], compared[0]["delivery_percent"]) == ("5", "83.3333")
    # The address that was refused is suppressed, and so are those of the complaint.
    assert compared[1]["excluded"] == "2"
    assert compared[1]["open_percent"] == ""


@pytest.mark.parametrize("what", ["series", "links", "domains", "stats"])
def test_what_is_not_there_is_not_found(api: TestClient, execution: Sent, what: str) -> None:
    assert api.get(f"/api/flow-executions/{execution.id + 1}/{what}").status_code == 404
    assert api.get(f"/api/flows/{execution.flow_id + 1}/comparison?format=csv").status_code == 404


def test_a_warning_and_the_guard_are_shown_and_who_resumes_is_remembered(
    api: TestClient, database: Database, execution: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICS_GUARD_MESSAGES", "6")
    get_settings.cache_clear()
    report(database, [execution.event(0, "spamreport", 100)])
    path = f"/api/flow-executions/{execution.id}"
    shown = api.get(path).json()
    assert (shown["state"], shown["is_guarded"]) == ("paused", True)
    assert "the complaint rate is 33.3 % (2 of 6 accepted)" in shown["reason"]
    assert shown["warning"] == shown["reason"]
    [listed] = api.get("/api/flow-executions?state=paused").json()["items"]
    assert listed["warning"] == shown["warning"]
    resumed = api.post(f"{path}/resume").json()
    assert (resumed["state"], resumed["is_guarded"], resumed["reason"]) == ("sending", False, None)
    assert resumed["warning"] == shown["warning"]
    [approval] = api.get(f"{path}/approvals").json()["items"]
    assert (approval["action"], approval["approved_by"]) == ("resume_in_spite_of_guard", "tests")
