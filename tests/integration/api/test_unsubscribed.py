"""Suppressed addresses over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db.engine import Database
from db.queries.suppressions import SuppressionChange, apply_suppressions, is_suppressed
from db.states import Channel, SuppressionReason
from tests.builders import add_campaign
from tests.integration.api.answers import created, fields_of, problem_of, walk

URL = "/api/unsubscribed"


def suppressed(database: Database, address: str, flow_id: int = 0) -> bool:
    channel = Channel.EMAIL if "@" in address else Channel.SMS
    with database.reading() as s:
        return is_suppressed(s, channel, address, flow_id)


def apply(database: Database, **values: Any) -> None:
    change = SuppressionChange(
        **{"channel": Channel.EMAIL, "address": "ann@example.com", "source": "test", **values}
    )
    database.run(lambda s: apply_suppressions(s, [change]))


def test_an_address_is_suppressed_and_lifted(api: TestClient, database: Database) -> None:
    made = created(api, URL, channel="email", address=" Ann@Example.com ")
    assert (made["address"], made["scope"], made["reason"], made["active"]) == (
        "ann@example.com",
        0,
        "manual",
        True,
    )
    assert made["source"] == "token tests"
    assert suppressed(database, "ann@example.com")
    again = created(api, URL, channel="email", address="ann@example.com")
    assert again == made
    assert api.delete(f"{URL}/{made['id']}").status_code == 204
    assert not suppressed(database, "ann@example.com")
    assert walk(api, URL) == []
    assert created(api, URL, channel="email", address="ann@example.com")["id"] == made["id"]
    assert suppressed(database, "ann@example.com")


def test_a_suppression_may_hold_for_one_flow(api: TestClient, database: Database) -> None:
    flow = database.run(lambda s: add_campaign(s)).flow
    made = created(api, URL, channel="sms", address="087 123 4567", flow_id=flow.id)
    assert (made["address"], made["scope"]) == ("+353871234567", flow.id)
    assert suppressed(database, "+353871234567", flow.id)
    assert not suppressed(database, "+353871234567")
    unknown = api.post(URL, json={"channel": "sms", "address": "087 123 4567", "flow_id": 900_000})
    assert fields_of(unknown) == {"body.flow_id": "flow 900000 does not exist"}


def test_lifting_one_leaves_the_others_of_the_address(api: TestClient, database: Database) -> None:
    apply(database, reason=SuppressionReason.BOUNCE, effective_at=datetime(2026, 1, 1, tzinfo=UTC))
    manual = created(api, URL, channel="email", address="ann@example.com")
    assert api.delete(f"{URL}/{manual['id']}").status_code == 204
    assert suppressed(database, "ann@example.com")
    (bounce,) = walk(api, URL)
    assert bounce["reason"] == "bounce"
    assert api.delete(f"{URL}/{bounce['id']}").status_code == 204
    assert not suppressed(database, "ann@example.com")


def test_a_person_has_the_last_word_over_a_clock_that_is_ahead(api: TestClient, database: Database) -> None:
    future = datetime.now(UTC) + timedelta(days=2)
    apply(database, reason=SuppressionReason.MANUAL, effective_at=future)
    (made,) = walk(api, URL)
    assert api.delete(f"{URL}/{made['id']}").status_code == 204
    assert not suppressed(database, "ann@example.com")
    created(api, URL, channel="email", address="ann@example.com")
    assert suppressed(database, "ann@example.com")


def test_suppressions_come_by_pages_channel_and_address(api: TestClient) -> None:
    ids = [created(api, URL, channel="email", address=f"c{n}@example.com")["id"] for n in range(3)]
    phone = created(api, URL, channel="sms", address="+353871234567")["id"]
    assert [item["id"] for item in walk(api, URL)] == [*ids, phone]
    assert [item["id"] for item in walk(api, URL, channel="sms")] == [phone]
    assert [item["id"] for item in walk(api, URL, address="C1@Example.com")] == [ids[1]]
    assert [item["id"] for item in walk(api, URL, address="+353 87 123 4567")] == [phone]
    assert walk(api, URL, address="zz@example.com") == []
    assert list(fields_of(api.get(URL, params={"address": "@"}))) == ["query.address"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"channel": "email", "address": "+353871234567"}, "address"),
        ({"channel": "sms", "address": "ann@example.com"}, "address"),
        ({"channel": "fax", "address": "ann@example.com"}, "channel"),
        ({"channel": "email"}, "address"),
        ({"channel": "email", "address": "a@example.com", "reason": "bounce"}, "reason"),
        ({"channel": "email", "address": "a\x00@example.com"}, "address"),
    ],
)
def test_a_bad_suppression_is_refused_by_the_name_of_its_field(
    api: TestClient, body: dict[str, Any], field: str
) -> None:
    assert list(fields_of(api.post(URL, json=body))) == [f"body.{field}"]


def test_lifting_what_is_not_there_is_a_404(api: TestClient) -> None:
    problem_of(api.delete(f"{URL}/900000"), 404)
