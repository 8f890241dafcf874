"""Clients who are the same person: found, and made one, while they are written to."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from db.engine import Database, Session
from db.models import (
    Approval,
    Client,
    ClientListMember,
    ClientMerge,
    ConsentChange,
    Event,
    FlowExecution,
    FormerMember,
    ImportChange,
    MemberImport,
    Message,
)
from db.queries import ledger
from db.queries.recount import recount
from db.queries.stats import get_counts
from db.states import Channel, Consent, MessageState
from tests.builders import add_campaign, add_clients, prepared, to_sending
from tests.integration.api.answers import created, fields_of, problem_of, walk


def merge(api: TestClient, survivor: int, *others: int, **more: Any) -> dict[str, Any]:
    answer = api.post(f"/api/clients/{survivor}/merge", json={"client_ids": list(others), **more})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def counts_are_true(database: Database) -> None:
    with database.reading() as s:
        for execution_id in s.scalars(select(FlowExecution.id)):
            assert get_counts(s, execution_id) == recount(s, execution_id)


def send_to(
    database: Database, *client_ids: int, name: str = "Spring", channel: Channel = Channel.EMAIL
) -> int:
    """An execution of one batch whose list has these clients."""

    def work(s: Session) -> int:
        campaign = add_campaign(s, name=name, channel=channel)
        s.add_all(
            ClientListMember(client_list_id=campaign.client_list.id, client_id=key) for key in client_ids
        )
        s.flush()
        return prepared(s, campaign).id

    return database.run(work)


def states(database: Database, execution_id: int) -> dict[int, tuple[MessageState, str | None]]:
    with database.reading() as s:
        rows = s.execute(
            select(Message.client_id, Message.state, Message.reason).where(
                Message.execution_id == execution_id
            )
        )
        return {client_id: (state, reason) for client_id, state, reason in rows}


def claim(database: Database, execution_id: int) -> Any:
    batch = database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=60))
    assert batch is not None
    return batch


class TestDuplicates:
    def test_groups_who_share_a_value_page_by_page(self, api: TestClient, database: Database) -> None:
        def add(s: Session) -> list[int]:
            ids = add_clients(s, 9)
            for place, key in enumerate(ids):
                client = s.get_one(Client, key)
                client.phone = f"+35387000000{place // 2}" if place else None
                client.external_id = f"crm-{place % 4}"
                client.first_name, client.last_name = (
                    ("Ann", "Lee") if place in (2, 5) else (f"N{place}", "Lee")
                )
            return ids

        ids = database.run(add)

        def groups(by: str) -> list[tuple[str, int, list[int]]]:
            found = walk(api, "/api/clients/duplicates", by=by)
            return [(each["value"], each["count"], [one["id"] for one in each["clients"]]) for each in found]

        assert groups("phone") == [
            ("+353870000001", 2, ids[2:4]),
            ("+353870000002", 2, ids[4:6]),
            ("+353870000003", 2, ids[6:8]),
        ]
        assert [(value, count) for value, count, _ in groups("external_id")] == [
            ("crm-0", 3),
            ("crm-1", 2),
            ("crm-2", 2),
            ("crm-3", 2),
        ]
        assert groups("name") == [("ann lee", 2, [ids[2], ids[5]])]

    def test_an_unknown_key_is_refused(self, api: TestClient) -> None:
        fields_of(api.get("/api/clients/duplicates", params={"by": "email"}))
        assert (
            "begin again"
            in fields_of(api.get("/api/clients/duplicates", params={"cursor": 7}))["query.cursor"]
        )


class TestProfiles:
    def test_a_preview_says_what_comes_out_and_changes_nothing(self, api: TestClient) -> None:
        one = created(api, "/api/clients", phone="+353871112233", first_name="Ann")
        two = created(
            api, "/api/clients", email="two@x.ie", last_name="Lee", tags=["a"], sms_consent="denied"
        )
        shown = merge(api, one["id"], two["id"], preview=True)
        assert api.get(f"/api/clients/{one['id']}").json() == one
        done = merge(api, one["id"], two["id"])
        assert done == {**shown, "preview": False, "approval_id": done["approval_id"]}
        found = api.get(f"/api/clients/{one['id']}").json()
        assert {name: found[name] for name in done["client"]} == done["client"]
        assert (found["email"], found["last_name"], found["sms_consent"]) == ("two@x.ie", "Lee", "denied")
        # By its new email the client is recognised from now on.
        problem_of(api.post("/api/clients", json={"email": "two@x.ie"}), 409)

    def test_everything_of_the_others_is_the_survivors(self, api: TestClient, database: Database) -> None:
        def add(s: Session) -> list[int]:
            ids = add_clients(s, 3)
            lists = [add_campaign(s, name=name).client_list.id for name in ("a", "b", "c")]
            made = MemberImport(uid="u" * 12, filename="x", size_bytes=1, mapping={})
            other = MemberImport(uid="v" * 12, filename="y", size_bytes=1, mapping={})
            s.add_all([made, other])
            s.flush()
            s.add(ImportChange(import_id=other.id, client_id=ids[1], before={"phone": "y"}))
            members = [
                (lists[0], ids[0], None),
                (lists[0], ids[1], 5),
                (lists[1], ids[1], 5),
                (lists[2], ids[2], None),
            ]
            s.add_all(ClientListMember(client_list_id=a, client_id=b, import_id=c) for a, b, c in members)
            s.add(ClientMerge(merged_id=900, client_id=ids[1], merged_by="x"))
            s.add(FormerMember(client_list_id=1, client_id=ids[1], added_at=made.created_at, removed_by="x"))
            s.add_all(
                ImportChange(import_id=made.id, client_id=key, before={"phone": "x"}) for key in ids[:2]
            )
            s.add(ConsentChange(client_id=ids[2], channel=Channel.SMS, consent=Consent.GRANTED, source="x"))
            s.get_one(Client, ids[2]).email_consent = Consent.DENIED
            return ids

        one, two, three = database.run(add)
        assert merge(api, one, two, three)["lists"] == 2
        with database.reading() as s:
            members = s.execute(
                select(ClientListMember.client_id, ClientListMember.import_id).order_by(
                    ClientListMember.client_list_id
                )
            ).all()
            assert [tuple(row) for row in members] == [(one, None), (one, 5), (one, None)]
            assert {row.merged_id: row.client_id for row in s.scalars(select(ClientMerge))} == {
                900: one,
                two: one,
                three: one,
            }
            assert s.scalars(select(FormerMember.client_id)).all() == [one]
            query = select(ImportChange.client_id, ImportChange.before).order_by(ImportChange.import_id)
            assert [tuple(row) for row in s.execute(query)] == [(one, {"phone": "x"}), (one, {})]
            log = s.execute(
                select(ConsentChange.client_id, ConsentChange.source).order_by(ConsentChange.id)
            ).all()
            assert [tuple(row) for row in log] == [(one, "x"), (one, "merge")]
            [approval] = s.scalars(select(Approval)).all()
        assert (approval.action, approval.details["merged_ids"]) == ("merge_clients", [two, three])
        assert "@" not in str(approval.details)

    def test_who_unsubscribed_the_other_address_does_not_get_it_at_this_one(self, api: TestClient) -> None:
        one = created(api, "/api/clients", email="one@x.ie")
        two = created(api, "/api/clients", email="two@x.ie")
        created(api, "/api/unsubscribed", channel="email", address="two@x.ie")
        done = merge(api, one["id"], two["id"])
        assert (done["client"]["email_consent"], done["left_out_emails"]) == ("denied", ["two@x.ie"])

    def test_the_old_id_says_where_the_client_went_through_all_merges(self, api: TestClient) -> None:
        ids = [created(api, "/api/clients", email=f"c{n}@x.ie")["id"] for n in range(3)]
        merge(api, ids[1], ids[0])
        merge(api, ids[2], ids[1])
        for old in ids[:2]:
            detail = problem_of(api.get(f"/api/clients/{old}"), 404)["detail"]
            assert detail == f"client {old} was merged into client {ids[2]}"

    @pytest.mark.parametrize(
        ("others", "status", "words"),
        [
            ([1], 422, "not client 1 itself"),
            ([2, 2], 422, "each client once"),
            ([2, 99_999_999], 404, "99999999"),
        ],
    )
    def test_who_cannot_be_merged_is_named(
        self, api: TestClient, database: Database, others: list[int], status: int, words: str
    ) -> None:
        ids = database.run(lambda s: add_clients(s, 2))
        given = [{1: ids[0], 2: ids[1]}.get(each, each) for each in others]
        answer = api.post(f"/api/clients/{ids[0]}/merge", json={"client_ids": given})
        assert words.replace("client 1", f"client {ids[0]}") in problem_of(answer, status)["detail"]


class TestMessages:
    """A person who is merged while executions run is written to once a step."""

    @pytest.fixture
    def ids(self, database: Database) -> list[int]:
        return database.run(lambda s: add_clients(s, 3))

    def test_a_pending_message_goes_out_for_the_survivor(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        execution_id = send_to(database, ids[1])
        assert merge(api, ids[0], ids[1])["messages_moved"] == 1
        batch = claim(database, execution_id)
        with database.reading() as s:
            [recipient] = ledger.read_batch(s, batch)
        assert (recipient.address, recipient.exclusion) == ("client1@example.com", None)
        assert recipient.client["first_name"] == "Client0"
        assert len(database.run(lambda s: to_sending(s, batch))) == 1
        counts_are_true(database)

    def test_of_two_pending_messages_the_survivors_goes_out(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        execution_id = send_to(database, *ids)
        done = merge(api, ids[0], ids[1], ids[2])
        assert (done["messages_kept"], done["messages_not_sent"]) == (2, 2)
        assert states(database, execution_id) == {
            ids[0]: (MessageState.PENDING, None),
            ids[1]: (MessageState.EXCLUDED, "merged"),
            ids[2]: (MessageState.EXCLUDED, "merged"),
        }
        counts_are_true(database)
        # All of them are shown as the survivor's.
        shown = walk(api, f"/api/clients/{ids[0]}/messages")
        assert [each["state"] for each in shown] == ["excluded", "excluded", "pending"]

    def test_a_batch_that_was_read_before_is_sent_without_the_merged_one(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        execution_id = send_to(database, *ids)
        batch = claim(database, execution_id)
        with database.reading() as s:
            ready = [each.message_id for each in ledger.read_batch(s, batch)]
        merge(api, ids[0], ids[1])
        allowed = database.run(
            lambda s: ledger.commit_sending(s, batch, ready=ready, failed={}, excluded={}, lease_seconds=60)
        )
        assert len(allowed) == 2
        counts_are_true(database)
        database.run(lambda s: ledger.accept_batch(s, batch, "X-1"))
        assert states(database, execution_id)[ids[1]] == (MessageState.EXCLUDED, "merged")
        counts_are_true(database)

    @pytest.mark.parametrize("is_accepted", [True, False])
    def test_while_the_other_is_being_sent_the_survivors_waits_for_nothing(
        self, api: TestClient, database: Database, ids: list[int], is_accepted: bool
    ) -> None:
        def work(s: Session) -> int:
            campaign = add_campaign(s)
            s.add_all(
                ClientListMember(client_list_id=campaign.client_list.id, client_id=key)
                for key in (ids[1], ids[0])
            )
            s.flush()
            return prepared(s, campaign, batch_size=1).id

        execution_id = database.run(work)
        # The survivor has the first batch, the other one the second, which is on its way.
        claim(database, execution_id)
        on_its_way = claim(database, execution_id)
        database.run(lambda s: to_sending(s, on_its_way))
        counts_are_true(database)
        done = merge(api, ids[0], ids[1])
        assert (done["messages_moved"], done["messages_not_sent"]) == (1, 1)
        counts_are_true(database)
        if is_accepted:
            database.run(lambda s: ledger.accept_batch(s, on_its_way, "X-1"))
            assert states(database, execution_id)[ids[0]] == (MessageState.ACCEPTED, None)
        else:
            database.run(lambda s: ledger.return_batch(s, on_its_way, error="429", delay_seconds=0))
            again = claim(database, execution_id)
            assert len(database.run(lambda s: to_sending(s, again))) == 1
        assert states(database, execution_id)[ids[1]] == (MessageState.EXCLUDED, "merged")
        counts_are_true(database)

    def test_who_had_no_phone_gets_the_sms_of_the_other(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        def forget(s: Session) -> None:
            s.get_one(Client, ids[0]).phone = None

        database.run(forget)
        execution_id = send_to(database, *ids[:2], channel=Channel.SMS)
        assert merge(api, ids[0], ids[1])["messages_not_sent"] == 0
        found = states(database, execution_id)
        assert found == {ids[0]: (MessageState.PENDING, None), ids[1]: (MessageState.EXCLUDED, "no_address")}
        counts_are_true(database)

    def test_the_events_of_a_message_go_with_it(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        execution_id = send_to(database, ids[1])
        batch = claim(database, execution_id)
        database.run(lambda s: to_sending(s, batch))
        database.run(lambda s: ledger.accept_batch(s, batch, "X-1"))
        message_id = batch.first_message_id

        def add(s: Session) -> None:
            facts = {
                "provider": "sendgrid",
                "kind": "open",
                "raw": {},
                "occurred_at": s.get_one(Client, ids[1]).created_at,
            }
            s.add(Event(fingerprint=b"f" * 32, message_id=message_id, client_id=ids[1], **facts))

        database.run(add)
        merge(api, ids[0], ids[1])
        with database.reading() as s:
            assert s.scalars(select(Event.client_id)).all() == [ids[0]]

    def test_an_erasure_takes_what_stayed_under_the_merged_id_too(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        send_to(database, *ids)
        merge(api, ids[0], ids[1])
        api.post(f"/api/clients/{ids[0]}/erase", json={"confirm": str(ids[0])})
        with database.reading() as s:
            left = s.scalars(select(Message.address).where(Message.address.is_not(None))).all()
        assert left == ["client2@example.com"]
