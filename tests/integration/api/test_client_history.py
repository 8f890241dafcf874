"""What is known of one client: consents, timeline, lists."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import db.queries
from db.engine import Database
from db.models import ClientListMember, ConsentChange, Event, FlowExecution, Message
from db.models.suppressions import EVERYWHERE
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, SuppressionReason
from tests.builders import add_campaign, prepared
from tests.integration.api.answers import created, fields_of, problem_of

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def client(api: TestClient, **values: Any) -> dict[str, Any]:
    return created(api, "/api/clients", **{"email": "ann@x.example", **values})


def consents(api: TestClient, client_id: int) -> list[tuple[str, str, str]]:
    items = api.get(f"/api/clients/{client_id}/consents").json()["items"]
    return [(item["channel"], item["consent"], item["source"]) for item in items]


class TestConsents:
    def test_what_is_given_is_logged_with_its_words(self, api: TestClient) -> None:
        given = {"source": "sign-up form", "wording": "Yes, write to me", "given_at": "2026-11-01T12:00:00Z"}
        made = client(api, email_consent="granted", consent=given)
        [line] = api.get(f"/api/clients/{made['id']}/consents").json()["items"]
        assert line["given_at"] == "2026-11-01T12:00:00Z"
        assert (line["channel"], line["consent"]) == ("email", "granted")
        assert (line["source"], line["wording"]) == ("sign-up form", "Yes, write to me")

    def test_only_changes_are_logged_newest_first(self, api: TestClient) -> None:
        made = client(api)
        url = f"/api/clients/{made['id']}"
        assert consents(api, made["id"]) == []
        for body in (
            {"email_consent": "granted"},
            {"email_consent": "granted", "first_name": "Ann"},
            {"email_consent": "denied", "sms_consent": "granted"},
        ):
            assert api.patch(url, json=body).status_code == 200
        assert consents(api, made["id"]) == [
            ("sms", "granted", "token tests"),
            ("email", "denied", "token tests"),
            ("email", "granted", "token tests"),
        ]

    @pytest.mark.parametrize(
        ("consent", "field"),
        [
            ({}, "source"),
            ({"source": "form", "given_at": "2126-01-01T00:00:00Z"}, "given_at"),
            ({"source": "form", "given_at": "2026-01-01T00:00:00"}, "given_at"),
            ({"source": "x" * 61}, "source"),
            ({"source": "form", "by": "me"}, "by"),
        ],
    )
    def test_a_bad_origin_is_refused(self, api: TestClient, consent: dict[str, Any], field: str) -> None:
        answer = api.post("/api/clients", json={"email": "a@x.example", "consent": consent})
        assert list(fields_of(answer)) == [f"body.consent.{field}"]

    def test_what_people_say_by_unsubscribing_is_logged_once(
        self, api: TestClient, database: Database
    ) -> None:
        """In whatever order it is told, and however often."""
        said = [
            SuppressionChange(Channel.EMAIL, "ann@x.example", SuppressionReason.ONE_CLICK, NOON, "one_click"),
            SuppressionChange(
                Channel.EMAIL,
                "ann@x.example",
                SuppressionReason.SPAM_REPORT,
                NOON + timedelta(hours=1),
                "sendgrid",
            ),
            # A bounce is no word of the client's.
            SuppressionChange(Channel.EMAIL, "ann@x.example", SuppressionReason.BOUNCE, NOON, "sendgrid"),
        ]
        ids = [client(api)["id"], client(api, email="bob@x.example")["id"]]
        for order in permutations(said):
            database.run(partial(apply_suppressions, changes=order))
        assert sorted(consents(api, ids[0])) == [
            ("email", "denied", "one_click: one_click"),
            ("email", "denied", "spam_report: sendgrid"),
        ]
        assert consents(api, ids[1]) == []

    def test_stop_and_start_are_both_kept(self, api: TestClient, database: Database) -> None:
        made = client(api, phone="+353871234567")
        stop = SuppressionChange(Channel.SMS, "+353871234567", SuppressionReason.STOP, NOON, "sendmode")
        start = SuppressionChange(
            Channel.SMS,
            "+353871234567",
            SuppressionReason.STOP,
            NOON + timedelta(days=1),
            "sendmode",
            active=False,
            scope=EVERYWHERE,
        )
        database.run(lambda s: apply_suppressions(s, [stop]))
        database.run(lambda s: apply_suppressions(s, [start]))
        assert consents(api, made["id"]) == [
            ("sms", "granted", "stop lifted: sendmode"),
            ("sms", "denied", "stop: sendmode"),
        ]

    def test_no_query_changes_the_log(self) -> None:
        """What is in it stays, but for the deletion, the merge and the erasure of its client."""
        table = ConsentChange.__tablename__
        forbidden = re.compile(
            rf"(update|delete)\(\s*ConsentChange|(UPDATE|DELETE FROM)\s+({table}|\{{_LOG\}})", re.IGNORECASE
        )
        found = [
            path.name
            for path in Path(db.queries.__path__[0]).glob("*.py")
            if forbidden.search(path.read_text())
        ]
        assert found == []


class TestTimeline:
    def entries(self, api: TestClient, client_id: int, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = api.get(f"/api/clients/{client_id}/timeline", params={**params, **more}).json()
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def history(self, api: TestClient, database: Database) -> int:
        """A client who was put on a list, written to, opened, unsubscribed and was taken off the list."""
        with database.transaction() as s:
            campaign = add_campaign(s, clients=1)
            execution_id = prepared(s, campaign).id
            s.get_one(FlowExecution, execution_id).started_at = NOON
            message = s.query(Message).filter_by(execution_id=execution_id).one()
            member = s.query(ClientListMember).filter_by(client_id=message.client_id).one()
            member.added_at = NOON - timedelta(days=1)
            list_id = member.client_list_id
            for number, (kind, minutes) in enumerate((("delivered", 1), ("open", 5), ("open", 5))):
                s.add(
                    Event(
                        fingerprint=bytes([number]) * 32,
                        provider="sendgrid",
                        kind=kind,
                        message_id=message.id,
                        client_id=message.client_id,
                        occurred_at=NOON + timedelta(minutes=minutes),
                        raw={},
                    )
                )
            apply_suppressions(
                s,
                [
                    SuppressionChange(
                        Channel.EMAIL,
                        message.address or "",
                        SuppressionReason.ONE_CLICK,
                        NOON + timedelta(minutes=9),
                        "link",
                    )
                ],
            )
            client_id = message.client_id
        removed = api.request(
            "DELETE", f"/api/client-lists/{list_id}/members", json={"client_ids": [client_id]}
        )
        assert removed.json() == {"changed": 1}
        return client_id

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_everything_is_in_it_once_newest_first(
        self, api: TestClient, database: Database, limit: int
    ) -> None:
        client_id = self.history(api, database)
        found = self.entries(api, client_id, limit=limit)
        # Made just now, by the clock of the database; what it is about was in the past.
        assert [entry["kind"] for entry in found[:2]] == ["list_left", "created"]
        assert [(entry["kind"], entry.get("event")) for entry in found[2:]] == [
            ("consent", None),
            ("event", "open"),
            ("event", "open"),
            ("event", "delivered"),
            ("message", None),
            ("list_joined", None),
        ]
        assert found[0]["removed_by"] == "token tests"
        message = found[-2]
        assert (message["state"], message["channel"], message["feedback"]) == ("pending", "email", [])
        moments = [entry["at"] for entry in found]
        assert moments == sorted(moments, reverse=True)

    def test_it_can_be_narrowed(self, api: TestClient, database: Database) -> None:
        client_id = self.history(api, database)
        found = self.entries(api, client_id, kind=["event", "consent"], limit=2)
        assert [entry["kind"] for entry in found] == ["consent", "event", "event", "event"]

    def test_what_comes_meanwhile_does_not_disturb_the_pages(
        self, api: TestClient, database: Database
    ) -> None:
        client_id = self.history(api, database)
        url = f"/api/clients/{client_id}/timeline"
        all_of_it = self.entries(api, client_id)
        first = api.get(url, params={"limit": 3}).json()
        api.patch(f"/api/clients/{client_id}", json={"sms_consent": "granted"})
        rest = api.get(url, params={"cursor": first["next_cursor"]}).json()
        assert first["items"] + rest["items"] == all_of_it

    @pytest.mark.parametrize("cursor", ["x", "MjAyNg", "4pyT", "MjAyNi0wMS0wMSAxIDE"])
    def test_a_foreign_cursor_is_refused(self, api: TestClient, cursor: str) -> None:
        made = client(api)
        found = fields_of(api.get(f"/api/clients/{made['id']}/timeline", params={"cursor": cursor}))
        assert found == {"query.cursor": "is none that this route gave; begin again without it"}

    def test_nobody_has_no_timeline(self, api: TestClient) -> None:
        for path in ("timeline", "consents", "lists"):
            problem_of(api.get(f"/api/clients/99/{path}"), 404)


def test_the_lists_of_a_client_are_static_and_dynamic(api: TestClient) -> None:
    ann, bob = client(api, tags=["vip"])["id"], client(api, email="bob@x.example")["id"]
    static = created(api, "/api/client-lists", name="Chosen")["id"]
    rule = {"field": "tags", "operator": "has_any", "value": ["vip"]}
    dynamic = created(api, "/api/client-lists", name="VIPs", kind="dynamic", rule=rule)["id"]
    api.post(f"/api/client-lists/{static}/members", json={"client_ids": [ann, bob]})

    def lists(client_id: int) -> list[tuple[int, bool]]:
        items = api.get(f"/api/clients/{client_id}/lists").json()["items"]
        return [(item["client_list_id"], item["added_at"] is not None) for item in items]

    assert lists(ann) == [(static, True), (dynamic, False)]
    assert lists(bob) == [(static, True)]
