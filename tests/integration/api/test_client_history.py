"""What is known of one client: consents, timeline, lists."""

import ast
import base64
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

import db
from db.engine import Database, Session
from db.models import (
    Client,
    ClientListMember,
    ConsentChange,
    Event,
    FlowExecution,
    FormerMember,
    ImportChange,
    MemberImport,
    Message,
)
from db.models.suppressions import EVERYWHERE
from db.queries import client_history
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, SuppressionReason
from tests.builders import add_campaign, prepared
from tests.integration.api.answers import created, fields_of, problem_of

# A moment that no date can hold once it is in UTC.
BEFORE_TIME = base64.urlsafe_b64encode(b"0001-01-01T00:00:00+14:00 0 1").decode().rstrip("=")
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

    @pytest.mark.parametrize("source", ["import 5", "Import of the old CRM", "undo of import 5"])
    def test_nobody_else_speaks_for_an_import(self, api: TestClient, source: str) -> None:
        """What an import set is taken back with it, unless the client said it again: told apart by the source."""
        body = {"email": "a@x.example", "email_consent": "granted", "consent": {"source": source}}
        assert "only imports write" in fields_of(api.post("/api/clients", json=body))["body.consent.source"]

    def test_no_query_changes_the_log(self) -> None:
        """What is in it stays: nothing updates or deletes it but a merge, which moves it. (With its client it goes by itself.)"""
        changing = {
            path.name
            for path in Path(db.__path__[0]).rglob("*.py")
            if "migrations" not in path.parts and changes_the_log(path.read_text())
        }
        assert changing == {"merging.py"}

    @pytest.mark.parametrize(
        "code",
        [
            "update(ConsentChange).values(x=1)",
            "delete(ConsentChange.__table__)",
            "change = ConsentChange\nsession.execute(delete(change))",
            "_take_over(session, ConsentChange)",
            "session.delete(session.get(ConsentChange, 1))",
            f'text("DELETE FROM {ConsentChange.__tablename__} WHERE id = 1")',
            '_LOG = ConsentChange.__tablename__\ntext(f"UPDATE {_LOG} SET source = 1")',
        ],
    )
    def test_a_query_that_changes_the_log_would_be_found(self, code: str) -> None:
        assert changes_the_log(code)


_READS_OR_ADDS = {"select", "select_from", "insert", "insert_ignore", "_section", "join_from"}


def changes_the_log(code: str) -> bool:
    """Whether the code hands the log to anything but what reads it or adds to it, or has such SQL of its own."""
    tree = ast.parse(code)
    names = {"ConsentChange"}
    tables = {ConsentChange.__tablename__}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if ast.unparse(node.value) == "ConsentChange":
                names.add(node.targets[0].id)
            elif ast.unparse(node.value) == "ConsentChange.__tablename__":
                tables.add(f"{{{node.targets[0].id}}}")
            elif ast.unparse(node.value) == "ConsentChange.metadata.tables[ConsentChange.__tablename__]":
                names.add(node.targets[0].id)
    handed = names | {f"{name}.__table__" for name in names}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    is_handed = any(
        ast.unparse(call.func).split(".")[-1] not in _READS_OR_ADDS
        and any(ast.unparse(argument) in handed for argument in call.args)
        for call in calls
    )
    statement = rf"(UPDATE|DELETE FROM)\s+({'|'.join(map(re.escape, tables))})"
    return is_handed or re.search(statement, code, re.IGNORECASE) is not None


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

    @pytest.mark.parametrize("cursor", ["x", "MjAyNg", "4pyT", "MjAyNi0wMS0wMSAxIDE", BEFORE_TIME])
    def test_a_foreign_cursor_is_refused(self, api: TestClient, cursor: str) -> None:
        made = client(api)
        found = fields_of(api.get(f"/api/clients/{made['id']}/timeline", params={"cursor": cursor}))
        assert found == {"query.cursor": "is none that this route gave; begin again without it"}

    def test_nobody_has_no_timeline(self, api: TestClient) -> None:
        for path in ("timeline", "consents", "lists"):
            problem_of(api.get(f"/api/clients/99/{path}"), 404)


def test_every_kind_of_entry_says_what_it_is_about(api: TestClient, database: Database) -> None:
    ann, old = client(api)["id"], client(api, email="old@x.example")["id"]
    other = created(api, "/api/client-lists", name="Gone")["id"]
    api.post(f"/api/client-lists/{other}/members", json={"client_ids": [old]})
    api.request("DELETE", f"/api/client-lists/{other}/members", json={"client_ids": [old]})

    def past(s: Session) -> None:
        imports = [
            MemberImport(uid=uid, filename="a.csv", size_bytes=1, mapping={}) for uid in ("one", "two")
        ]
        s.add_all(imports)
        s.flush()
        s.get_one(Client, ann).import_id = imports[0].id
        s.add(ImportChange(import_id=imports[1].id, client_id=ann, before={}, after={}))
        changed_by.append(imports[1].id)
        add_events(s, old, *EVENTS)

    changed_by: list[int] = []
    database.run(past)
    assert api.post(f"/api/clients/{ann}/merge", json={"client_ids": [old]}).status_code == 200
    found: dict[str, list[Any]] = {}
    for entry in api.get(f"/api/clients/{ann}/timeline").json()["items"]:
        del entry["at"]
        found.setdefault(entry.pop("kind"), []).append(entry)
    assert found == {
        # Undoing the import must not delete whom another one was merged into: it has not created this one alone.
        "created": [{"import_id": None}],
        "import_changed": [{"import_id": changed_by[0]}],
        "list_joined": [{"client_list_id": other, "name": "Gone", "import_id": None}],
        "list_left": [{"client_list_id": other, "name": "Gone", "removed_by": "token tests"}],
        "merged": [{"client_id": old, "merged_by": "tests"}],
        "event": [{"message_id": None, "event": kind, **UNSAID, **values} for kind, values in EVENTS[::-1]],
    }


UNSAID = {"url": None, "classification": None, "reason": None}
EVENTS: list[tuple[str, dict[str, str]]] = [
    ("click", {"url": "https://x.example/?a='b\"c\\"}),
    ("bounce", {"classification": "Invalid Address", "reason": "550 née à Cork 🙂"}),
]


def add_events(s: Session, client_id: int, *events: tuple[str, dict[str, str]], at: datetime = NOON) -> None:
    for kind, values in events:
        number = s.scalar(select(func.count()).select_from(Event)) or 0
        s.add(
            Event(
                fingerprint=number.to_bytes(32, "big"),
                provider="sendgrid",
                kind=kind,
                client_id=client_id,
                occurred_at=at,
                raw={},
                **values,
            )
        )
        s.flush()


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7])
def test_entries_of_the_same_moment_are_each_on_one_page(
    api: TestClient, database: Database, limit: int
) -> None:
    """Of all kinds, thrice at each of three moments: no page ends between two of them without the next beginning there."""
    made = client(api)["id"]

    def past(s: Session) -> None:
        for hours in range(3):
            at = NOON + timedelta(hours=hours)
            for number in range(3):
                add_events(s, made, ("open", {}), at=at)
                s.add(
                    ConsentChange(client_id=made, channel="email", consent="denied", given_at=at, source="x")
                )
                s.add(
                    FormerMember(
                        client_list_id=number, client_id=made, added_at=NOON, removed_at=at, removed_by="x"
                    )
                )

    database.run(past)
    url = f"/api/clients/{made}/timeline"
    whole = api.get(url, params={"limit": 100}).json()["items"]
    paged: list[Any] = []
    page = api.get(url, params={"limit": limit}).json()
    places = set()
    while page["next_cursor"]:
        paged += page["items"]
        places.add(page["next_cursor"])
        page = api.get(url, params={"limit": limit, "cursor": page["next_cursor"]}).json()
    assert paged + page["items"] == whole
    assert (len(whole), len(places)) == (37, (len(whole) - 1) // limit)


def test_who_was_merged_is_looked_for_at_the_other(api: TestClient) -> None:
    old, ann = client(api, email="old@x.example")["id"], client(api)["id"]
    assert api.post(f"/api/clients/{ann}/merge", json={"client_ids": [old]}).status_code == 200
    url = f"/api/clients/{old}"
    answers = [api.get(f"{url}{path}") for path in ("", "/timeline", "/consents", "/lists")]
    answers += [api.patch(url, json={"first_name": "Ann"}), api.delete(url)]
    for answer in answers:
        assert problem_of(answer, 404)["detail"] == f"client {old} was merged into client {ann}"


def test_an_erased_address_is_taken_again_only_after_that_was_lifted(api: TestClient) -> None:
    ann, bob = client(api, phone="+353871234567")["id"], client(api, email="bob@x.example")["id"]
    assert api.post(f"/api/clients/{ann}/erase", json={"confirm": "ann@x.example"}).status_code == 200
    for field, value in (("email", "Ann@X.example"), ("phone", "087 123 4567")):
        for answer in (
            api.post("/api/clients", json={field: value}),
            api.patch(f"/api/clients/{bob}", json={field: value}),
        ):
            assert "lift that first" in fields_of(answer, 409)[f"body.{field}"]
            assert value.lower() not in answer.text.lower()
    assert api.patch(f"/api/clients/{bob}", json={"first_name": "Bob"}).status_code == 200
    [found] = api.get("/api/unsubscribed", params={"address": "ann@x.example"}).json()["items"]
    assert api.delete(f"/api/unsubscribed/{found['id']}").status_code == 204
    again = client(api)
    # What she said before is forgotten, and what was lifted is no word of hers.
    assert consents(api, again["id"]) == []


def test_lists_beyond_those_that_are_asked_are_counted(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_history, "MAX_DYNAMIC_LISTS", 2)
    made = client(api, tags=["vip"])["id"]
    rule = {"field": "tags", "operator": "has_any", "value": ["vip"]}
    for number in range(3):
        created(api, "/api/client-lists", name=f"VIPs {number}", kind="dynamic", rule=rule)
    answer = api.get(f"/api/clients/{made}/lists").json()
    assert (len(answer["items"]), answer["unasked"]) == (2, 1)


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


def test_a_conversation_is_the_sms_and_their_answers(api: TestClient, database: Database) -> None:
    campaign = database.run(lambda s: add_campaign(s, channel=Channel.SMS, clients=1))
    execution = database.run(lambda s: prepared(s, campaign))
    with database.reading() as s:
        client_id, message_id = s.execute(select(Message.client_id, Message.id)).one()
    add = [("reply", {"reason": "yes please"}), ("open", {}), ("opt_out", {"reason": "STOP"})]

    def past(s: Session) -> None:
        for hours, (kind, values) in enumerate(add):
            add_events(s, client_id, (kind, values), at=datetime.now(UTC) + timedelta(hours=1 + hours))

    database.run(past)
    url = f"/api/clients/{client_id}/conversation"
    items = api.get(url).json()["items"]
    assert [(each["kind"], each.get("event"), each["reason"]) for each in items] == [
        ("event", "opt_out", "STOP"),
        ("event", "reply", "yes please"),
        ("message", None, None),
    ]
    assert (items[2]["message_id"], items[2]["execution_id"]) == (message_id, execution.id)
    first = api.get(url, params={"limit": 1}).json()
    rest = api.get(url, params={"limit": 5, "cursor": first["next_cursor"]}).json()["items"]
    assert [*first["items"], *rest] == items
    assert api.get("/api/clients/999/conversation").status_code == 404
