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


def imported(api: TestClient, text: str | bytes, status: int = 200, **fields: Any) -> Any:
    body = text.encode() if isinstance(text, str) else text
    answer = api.post(f"{URL}/import", files={"file": ("list.csv", body)}, data=fields)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_file_of_addresses_is_suppressed_row_by_row(api: TestClient, database: Database) -> None:
    text = (
        "\ufeffEmail,Channel,Note,Effective_at\r\n"
        "Ann@Example.com,,asked by phone,2026-01-02T03:04:05Z\r\n"
        "no address,,,\r\n"
        "087 123 4567,sms,,\r\n"
        "bob@example.com,fax,,\r\n"
        "bob@example.com,,,yesterday\r\n"
        ",,,\r\n"
        ",,only a note,\r\n"
    )
    found = imported(api, text)
    assert (found["rows"], found["suppressed"], found["rejected"]) == (6, 2, 4)
    assert [each["row"] for each in found["errors"]] == [3, 5, 6, 8]
    assert "neither email nor sms" in found["errors"][1]["message"]
    assert suppressed(database, "ann@example.com")
    assert suppressed(database, "+353871234567")
    [ann] = api.get(URL, params={"address": "ann@example.com"}).json()["items"]
    assert (ann["reason"], ann["evidence"], ann["source"]) == ("manual", "asked by phone", "token tests")
    assert ann["effective_at"].startswith("2026-01-02T03:04:05")
    # Once more, nothing is different.
    assert imported(api, text)["suppressed"] == 0
    assert len(api.get(f"{URL}/{ann['id']}/changes").json()["items"]) == 1


def test_who_was_lifted_since_stays_lifted(api: TestClient, database: Database) -> None:
    text = "address,effective_at\nann@example.com,2026-01-02T03:04:05Z\n"
    imported(api, text)
    [ann] = api.get(URL).json()["items"]
    api.delete(f"{URL}/{ann['id']}")
    assert imported(api, text)["suppressed"] == 0
    assert not suppressed(database, "ann@example.com")
    changes = api.get(f"{URL}/{ann['id']}/changes").json()["items"]
    assert [each["active"] for each in changes] == [True, False]
    [lifted] = api.get(URL, params={"active": False}).json()["items"]
    assert lifted["id"] == ann["id"]


def test_a_file_may_be_for_one_flow(api: TestClient, database: Database) -> None:
    flow = database.run(lambda s: add_campaign(s)).flow
    imported(api, "address\nann@example.com\n", flow_id=flow.id)
    assert suppressed(database, "ann@example.com", flow.id)
    assert not suppressed(database, "ann@example.com")
    assert len(api.get(URL, params={"flow_id": flow.id}).json()["items"]) == 1
    imported(api, "address\nann@example.com\n", 422, flow_id=900_000)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "no column"),
        (b"name\nAnn\n", "no column"),
        ("address\njosé@x.example\n".encode("latin-1"), "UTF-8"),
        (b'address\n"ann@x.example', "CSV"),
        (b"address\n" + b"a@x.example\n" * 100_001, "rows"),
    ],
)
def test_what_is_no_such_file_says_why(api: TestClient, text: bytes, what: str) -> None:
    assert what in fields_of(api.post(f"{URL}/import", files={"file": ("x.csv", text)}))["body.file"]


def test_what_is_exported_can_be_imported_again(api: TestClient, database: Database) -> None:
    apply(
        database,
        reason=SuppressionReason.BOUNCE,
        effective_at=datetime(2026, 1, 1, tzinfo=UTC),
        evidence="=cmd|x",
    )
    apply(
        database,
        address="bob@example.com",
        reason=SuppressionReason.MANUAL,
        effective_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    answer = api.get(f"{URL}/export")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "'=cmd|x" in answer.text
    assert "bob@" not in api.get(f"{URL}/export", params={"reason": "bounce"}).text
    found = imported(api, answer.content)
    assert (found["rows"], found["suppressed"], found["rejected"]) == (2, 1, 0)


def test_changes_of_what_does_not_exist_are_not_found(api: TestClient) -> None:
    assert api.get(f"{URL}/999/changes").status_code == 404
