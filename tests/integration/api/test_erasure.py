"""What people have a right to: a copy of all that is stored about them, and to be forgotten. Proven by searching every table."""

import re
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text

from db.base import Base
from db.engine import Database, Session
from db.fields import FieldKind
from db.models import (
    Client,
    ClientListMember,
    ClientMerge,
    ConsentChange,
    CustomField,
    Event,
    FlowExecution,
    FormerMember,
    ImportChange,
    ImportReject,
    MemberImport,
    Message,
    Unsubscribed,
    WebhookDelivery,
)
from db.queries import imports, ledger, webhooks
from db.queries.erasure import forget_latecomers
from db.queries.recount import recount
from db.queries.stats import get_counts
from db.queries.transitions import ClaimedBatch
from db.states import Channel, Consent, Exclusion, ImportState, InboxState, MessageState
from tasks.feedback.apply import apply_waiting
from tasks.feedback.sources import Source
from tests.builders import Campaign, add_campaign, prepared, to_sending
from tests.integration.api.answers import created, fields_of, problem_of

EMAIL, PHONE, FIRST, LAST = "ann.unique@x.ie", "+353871112233", "Zorabella", "Quixley"
JO_EMAIL, JO_PHONE = "joann.unique@x.ie", "+353871112244"
# joann is somebody else; the phone in any way to write it.
CANARY = re.compile(r"(?<!jo)ann\.unique(@|%40)x\.ie|87[ -]?111[ -]?2233|zorabella|quixley", re.IGNORECASE)
NOW = 1_790_000_000


def add_person(s: Session, email: str, phone: str, first: str, last: str) -> int:
    client = Client(
        identity_key=email,
        email=email,
        phone=phone,
        first_name=first,
        last_name=last,
        tags=["vip"],
        custom_fields={"nick": first},
    )
    s.add(client)
    s.flush()
    return client.id


def event(uid: str, message_id: int | None, email: str, kind: str, **more: Any) -> dict[str, Any]:
    ours = {"ics_message": f"{uid}-{message_id}"} if message_id else {}
    return {
        "email": email,
        "event": kind,
        "timestamp": NOW,
        "sg_event_id": f"{kind}{message_id}",
        **ours,
        **more,
    }


def received(s: Session, *events: Any, source: Source = Source.SENDGRID, body: bytes | None = None) -> int:
    raw = orjson.dumps(list(events)) if body is None else body
    return webhooks.insert_delivery(s, source=source, body=raw)


@dataclass
class Story:
    """Ann, and Joann who is not to be touched, in five executions."""

    database: Database
    ann: int
    joann: int
    pending: FlowExecution
    sending: FlowExecution
    batch: ClaimedBatch

    def messages(self, execution_id: int, client_id: int) -> Message:
        with self.database.reading() as s:
            return s.scalars(
                select(Message).where(Message.execution_id == execution_id, Message.client_id == client_id)
            ).one()


@pytest.fixture
def story(database: Database) -> Story:
    ann, joann = database.run(
        lambda s: (add_person(s, EMAIL, PHONE, FIRST, LAST), add_person(s, JO_EMAIL, JO_PHONE, "Jo", "Ann"))
    )
    done = _sent(database, ann, joann, "done", Channel.EMAIL)
    batch = _claimed(database, done)
    database.run(lambda s: ledger.accept_batch(s, batch, "X-1"))

    refused = _sent(database, ann, joann, "refused", Channel.EMAIL)
    other = _claimed(database, refused)
    hers = _message_id(database, refused.id, ann)
    database.run(lambda s: ledger.refuse_messages(s, other, {hers: f"refused: {EMAIL} is no address"}))
    again = _claimed(database, refused)
    database.run(lambda s: ledger.return_batch(s, again, error=f"429 for {EMAIL}", delay_seconds=0))

    sms = _sent(database, ann, joann, "sms", Channel.SMS)
    third = _claimed(database, sms)
    numbers = {_message_id(database, sms.id, key): "1" for key in (ann, joann)}
    database.run(
        lambda s: ledger.record_sms(
            s, third, accepted=numbers, failed={}, unknown=[], retry_delay=0, error=None
        )
    )
    database.run(lambda s: _add_feedback(s, done, ann, joann))
    apply_waiting(database)
    database.run(lambda s: _add_the_rest(s, ann, done))
    pending = _sent(database, ann, joann, "pending", Channel.EMAIL)
    sending = _sent(database, ann, joann, "sending", Channel.EMAIL)
    return Story(database, ann, joann, pending, sending, _claimed(database, sending))


def _sent(database: Database, ann: int, joann: int, name: str, channel: Channel) -> FlowExecution:
    def work(s: Session) -> FlowExecution:
        campaign = add_campaign(s, name=name, channel=channel)
        s.add_all(
            ClientListMember(client_list_id=campaign.client_list.id, client_id=key) for key in (ann, joann)
        )
        s.flush()
        return prepared(s, campaign)

    return database.run(work)


def _claimed(database: Database, execution: FlowExecution) -> ClaimedBatch:
    batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
    assert batch is not None
    database.run(lambda s: to_sending(s, batch))
    return batch


def _message_id(database: Database, execution_id: int, client_id: int) -> int:
    with database.reading() as s:
        found = select(Message.id).where(Message.execution_id == execution_id, Message.client_id == client_id)
        return s.scalars(found).one()


def _add_feedback(s: Session, done: FlowExecution, ann: int, joann: int) -> None:
    ids = dict(
        s.execute(select(Message.client_id, Message.id).where(Message.execution_id == done.id)).tuples().all()
    )
    click = event(done.uid, ids[ann], EMAIL, "click", url="https://x.example/?who=ann.unique%40x.ie")
    both = [event(done.uid, ids[key], mail, "delivered") for key, mail in ((ann, EMAIL), (joann, JO_EMAIL))]
    received(s, *both, click)
    received(s, *both, click)  # A copy, as SendGrid sends them.
    received(s, event("x" * 12, None, EMAIL, "open"))
    received(s, event(done.uid, ids[ann], EMAIL, "deferred", reason=f"550 <{EMAIL}> {FIRST} unknown"))
    received(s, body=f"nonsense about {EMAIL}".encode())
    reply = f"mobilenumber={PHONE[1:]}&command=I+am+{FIRST}&sentto=1"
    received(s, source=Source.SENDMODE_REPLY, body=reply.encode())
    s.add(WebhookDelivery(source=Source.SENDMODE_REPLY, body=b"", query=reply.replace("I+am", "again")))
    broken = received(s, event(done.uid, ids[ann], EMAIL, "open"))
    s.get_one(WebhookDelivery, broken).attempts = 20
    s.get_one(WebhookDelivery, broken).state = InboxState.FAILED
    s.flush()


def _add_the_rest(s: Session, ann: int, done: FlowExecution) -> None:
    s.add(CustomField(key="nick", kind=FieldKind.TEXT))
    member_import = MemberImport(
        uid="u" * 12, filename="x.csv", size_bytes=1, mapping={}, state=ImportState.COMPLETED
    )
    s.add(member_import)
    s.flush()
    reject = {
        "import_id": member_import.id,
        "severity": "reject",
        "row_number": 1,
        "column_name": "E",
        "reason": "r",
    }
    s.add_all(
        [
            ImportReject(**reject, value=EMAIL.upper(), message="m", cells=None),
            ImportReject(**reject, value="", message="m", cells=[FIRST, "087 111-2233", LAST]),
            ImportReject(**reject, value=JO_EMAIL, message="m", cells=["Jo", JO_EMAIL]),
            ImportChange(import_id=member_import.id, client_id=ann, before={"first_name": FIRST}),
            ConsentChange(
                client_id=ann,
                channel=Channel.EMAIL,
                consent=Consent.GRANTED,
                source="x",
                wording=f"I, {FIRST}",
            ),
            FormerMember(client_list_id=1, client_id=ann, added_at=done.created_at, removed_by="x"),
            ClientMerge(merged_id=99_999, client_id=ann, merged_by="x"),
            Message(
                execution_id=done.id,
                step_id=1,
                client_id=99_999,
                channel=Channel.EMAIL,
                address="old." + EMAIL,
                state=MessageState.FAILED,
            ),
        ]
    )
    # A message that a merged client kept: counted like any other.
    s.execute(
        text(
            f"UPDATE {Base.metadata.tables[_table('stats')].name} SET intended = intended + 1, failed = failed + 1 WHERE execution_id = :id"
        ),
        {"id": done.id},
    )


def _table(name: str) -> str:
    return next(each for each in Base.metadata.tables if each.endswith("_" + name))


def traces(database: Database) -> dict[str, list[str]]:
    """Where the person is named, by table."""
    found: dict[str, list[str]] = {}
    with database.reading() as s:
        for each in Base.metadata.sorted_tables:
            for row in s.execute(text(f"SELECT * FROM {each.name}")).mappings():
                for column, value in row.items():
                    shown = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                    if CANARY.search(shown):
                        found.setdefault(each.name.rpartition("automation_")[2], []).append(
                            f"{column}: {shown[:80]}"
                        )
    return found


def counts_are_true(database: Database) -> None:
    with database.reading() as s:
        for execution_id in s.scalars(select(FlowExecution.id)):
            assert get_counts(s, execution_id) == recount(s, execution_id)


def erase(api: TestClient, client_id: int, confirm: str = EMAIL, **more: Any) -> dict[str, Any]:
    answer = api.post(f"/api/clients/{client_id}/erase", json={"confirm": confirm, **more})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_after_an_erasure_no_table_names_the_person(
    api: TestClient, story: Story, database: Database
) -> None:
    created(api, "/api/unsubscribed", channel="email", address=EMAIL)
    before = traces(database)
    assert set(before) == {
        "batches",
        "clients",
        "consent_log",
        "events",
        "member_import_changes",
        "member_import_rejects",
        "messages",
        "unsubscribed",
        "webhook_deliveries",
    }
    done = erase(api, story.ann)
    assert traces(database) == {}
    counts_are_true(database)
    assert done["messages"] == 6
    assert (done["messages_not_sent"], done["import_rejects"], done["suppressions"]) == (1, 2, 1)
    assert done["webhooks"] == len(before["webhook_deliveries"])
    problem_of(api.get(f"/api/clients/{story.ann}"), 404)
    problem_of(api.post(f"/api/clients/{story.ann}/erase", json={"confirm": EMAIL}), 404)


def test_nobody_else_is_touched(api: TestClient, story: Story, database: Database) -> None:
    created(api, "/api/unsubscribed", channel="email", address=JO_EMAIL)
    her = re.compile("joann|353871112244")

    def named(s: Session) -> list[Any]:
        return [
            s.execute(
                select(Event.message_id, Event.raw).where(Event.address.in_([JO_EMAIL, JO_PHONE]))
            ).all(),
            s.execute(select(Message.id, Message.state).where(Message.client_id == story.joann)).all(),
            [body for body in s.scalars(select(WebhookDelivery.body)) if her.search(body.decode())][:0],
            s.scalars(select(ImportReject.cells).where(ImportReject.value == JO_EMAIL)).all(),
            s.scalars(select(Unsubscribed.active).where(Unsubscribed.address == JO_EMAIL)).all(),
        ]

    before = database.run(named)
    erase(api, story.ann)
    assert database.run(named) == before
    with database.reading() as s:
        bodies = [orjson.loads(body) for body in s.scalars(select(WebhookDelivery.body)) if b"joann" in body]
    assert [[each["email"] for each in body] for body in bodies] == [[JO_EMAIL], [JO_EMAIL]]


def test_what_is_pending_is_not_sent_and_what_is_being_sent_ends_as_it_does(
    api: TestClient, story: Story, database: Database
) -> None:
    erase(api, story.ann)
    waiting = story.messages(story.pending.id, story.ann)
    assert (waiting.state, waiting.reason, waiting.address) == (
        MessageState.EXCLUDED,
        Exclusion.CLIENT_DELETED,
        None,
    )
    batch = database.run(lambda s: ledger.claim_batch(s, story.pending.id, lease_seconds=60))
    assert batch is not None
    ids = database.run(lambda s: to_sending(s, batch))
    assert ids == {story.messages(story.pending.id, story.joann).id}
    counts_are_true(database)

    # The provider took nothing of the batch that was on its way: it is due again, and she is not in it.
    database.run(lambda s: ledger.return_batch(s, story.batch, error="429", delay_seconds=0))
    counts_are_true(database)
    again = database.run(lambda s: ledger.claim_batch(s, story.sending.id, lease_seconds=60))
    assert again is not None
    assert database.run(lambda s: to_sending(s, again)) == {story.messages(story.sending.id, story.joann).id}
    counts_are_true(database)
    assert story.messages(story.sending.id, story.ann).state is MessageState.EXCLUDED


def test_a_batch_that_was_read_before_is_sent_without_the_person(
    api: TestClient, story: Story, database: Database
) -> None:
    batch = database.run(lambda s: ledger.claim_batch(s, story.pending.id, lease_seconds=60))
    assert batch is not None
    with database.reading() as s:
        read = ledger.read_batch(s, batch)
    assert {each.address for each in read} == {EMAIL, JO_EMAIL}
    erase(api, story.ann)
    ready = [each.message_id for each in read]
    allowed = database.run(
        lambda s: ledger.commit_sending(s, batch, ready=ready, failed={}, excluded={}, lease_seconds=60)
    )
    assert allowed == {story.messages(story.pending.id, story.joann).id}
    counts_are_true(database)


def test_an_event_that_comes_later_is_counted_and_brings_nothing_back(
    api: TestClient, story: Story, database: Database
) -> None:
    hers = story.messages(story.sending.id, story.ann).id
    erase(api, story.ann)
    uid = story.sending.uid

    def arrive(s: Session) -> None:
        received(
            s,
            event(uid, hers, EMAIL, "bounce", reason=f"550 {FIRST}"),
            event("y" * 12, None, JO_EMAIL, "open"),
        )
        received(s, event("z" * 12, None, EMAIL, "spamreport"))
        received(s, body=f"nonsense about {EMAIL}".encode())
        received(
            s,
            source=Source.SENDMODE_REPLY,
            body=f"mobilenumber={PHONE[1:]}&command=STOP&sentto=1".encode(),
        )

    database.run(arrive)
    apply_waiting(database)
    assert traces(database) == {}
    counts_are_true(database)
    with database.reading() as s:
        assert get_counts(s, story.sending.id).messages["bounced"] == 1
        assert s.scalars(select(Event.address).where(Event.address == JO_EMAIL)).first() is not None
        reasons = s.scalars(select(Unsubscribed.reason)).all()
    assert set(reasons) == {"erased"}


def test_who_is_erased_while_a_snapshot_is_made_is_taken_out_of_it(
    api: TestClient, story: Story, database: Database
) -> None:
    def late(s: Session) -> tuple[int, Campaign]:
        campaign = add_campaign(s, name="late")
        s.add(ClientListMember(client_list_id=campaign.client_list.id, client_id=story.joann))
        s.flush()
        return prepared(s, campaign).id, campaign

    execution_id, _ = database.run(late)
    hers = story.messages(execution_id, story.joann).id
    erase(api, story.ann)

    def as_if_seen_before(s: Session) -> None:
        # What the snapshot's own statement would have written had it read Ann before she was erased.
        message = s.get_one(Message, hers)
        message.client_id, message.address = story.ann, EMAIL
        s.flush()
        forget_latecomers(s)

    database.run(as_if_seen_before)
    assert traces(database) == {}
    counts_are_true(database)
    assert story.messages(execution_id, story.ann).reason == Exclusion.CLIENT_DELETED


def test_the_hash_is_found_by_the_address_and_can_be_lifted(
    api: TestClient, story: Story, database: Database
) -> None:
    erase(api, story.ann)
    for address in (EMAIL.upper(), PHONE):
        [found] = api.get("/api/unsubscribed", params={"address": address}).json()["items"]
        assert (found["reason"], found["scope"], found["active"]) == ("erased", 0, True)
        assert found["address"].startswith("erased:")
    # She wants to be written to after all, but not by email.
    created(api, "/api/unsubscribed", channel="email", address=EMAIL)
    both = api.get("/api/unsubscribed", params={"address": EMAIL}).json()["items"]
    assert [each["reason"] for each in both] == ["erased", "manual"]
    assert api.delete(f"/api/unsubscribed/{both[0]['id']}").status_code == 204
    left = api.get("/api/unsubscribed", params={"address": EMAIL}).json()["items"]
    assert [each["reason"] for each in left] == ["manual"]
    with database.reading() as s:
        rows = s.execute(text(f"SELECT action, approved_by FROM {_table('approvals')} ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [("erase_client", "tests"), ("lift_erasure", "tests")]


def test_an_erasure_is_confirmed_by_what_the_client_is_known_by(api: TestClient, story: Story) -> None:
    url = f"/api/clients/{story.ann}/erase"
    assert "make sure" in fields_of(api.post(url, json={"confirm": JO_EMAIL}))["body.confirm"]
    fields_of(api.post(url, json={}))
    erase(api, story.ann, confirm=PHONE)
    erase(api, story.joann, confirm=str(story.joann))


def test_a_stored_file_may_name_them_so_it_goes_first(
    api: TestClient, story: Story, database: Database
) -> None:
    def upload(s: Session) -> int:
        made = imports.insert_import(s, filename="x.csv", mapping={})
        imports.append_chunk(s, made, 0, f"email\n{EMAIL}\n".encode())
        return made.id

    import_id = database.run(upload)
    url = f"/api/clients/{story.ann}/erase"
    assert (
        f"import {import_id} is queued" in problem_of(api.post(url, json={"confirm": EMAIL}), 409)["detail"]
    )
    database.run(lambda s: imports.fail_import(s, import_id, error="x"))
    assert "delete_import_files" in problem_of(api.post(url, json={"confirm": EMAIL}), 409)["detail"]
    assert erase(api, story.ann, delete_import_files=True)["import_files"] == 1
    assert traces(database) == {}


def test_a_phone_that_somebody_else_has_too_stays_suppressed(api: TestClient, database: Database) -> None:
    def family(s: Session) -> int:
        add_person(s, "mum@x.ie", PHONE, "Mum", "X")
        return add_person(s, "kid@x.ie", PHONE, "Kid", "X")

    kid = database.run(family)
    created(api, "/api/unsubscribed", channel="sms", address=PHONE)
    assert erase(api, kid, confirm="kid@x.ie")["shared_addresses"] == 1
    [left] = api.get("/api/unsubscribed", params={"address": PHONE}).json()["items"]
    assert (left["address"], left["reason"]) == (PHONE, "manual")


def test_a_person_gets_everything_that_is_stored_about_them(api: TestClient, story: Story) -> None:
    created(api, "/api/unsubscribed", channel="email", address=EMAIL)
    answer = api.get(f"/api/clients/{story.ann}/export")
    assert "attachment" in answer.headers["content-disposition"]
    found = answer.json()
    assert (found["client"]["email"], found["client"]["custom_fields"]) == (EMAIL, {"nick": FIRST})
    sizes = {name: len(rows) for name, rows in found.items() if name != "client"}
    assert sizes == {
        "consents": 1,
        "sign_ups": 0,
        "lists": 5,
        "former_lists": 1,
        "messages": 6,
        "events": 5,
        "events_without_message": 1,
        "suppressions": 1,
        "imports": 1,
        "import_changes": 1,
        "import_rejects": 2,
        "merged_clients": 1,
    }
    assert {each["kind"] for each in found["events"]} == {"delivered", "click", "deferred", "reply"}
    assert "joann" not in answer.text
    problem_of(api.get("/api/clients/424242/export"), 404)
