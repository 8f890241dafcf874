"""Copies and near copies: what is one fact is counted once, what are two facts is lost in no order."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import Engine, select, update

from db.engine import Database
from db.models import Batch, Event, FlowExecution, Message, Unsubscribed, WebhookEvent
from db.queries.stats import get_counts
from db.queries.suppressions import is_suppressed
from db.queries.webhooks import insert_delivery
from db.states import Channel, Feedback, MessageState, SuppressionReason, WebhookProblem
from settings import get_settings
from tasks.feedback import apply as applying
from tasks.feedback import replaying
from tasks.feedback.apply import apply_waiting
from tasks.feedback.forgetting import forget_old
from tasks.feedback.incoming import parse_deliveries
from tasks.feedback.replaying import replay_due, replay_open
from tasks.feedback.sources import Source
from tasks.providers import sendgrid_events
from tasks.providers.events import EventKind
from tests.integration.test_feedback import NOW, event, sent, store
from tests.integration.test_feedback_meaning import (
    CHROME,
    apply,
    blocked,
    counts_of,
    lift,
    several,
    suppressed,
)
from tests.integration.test_feedback_problems import Odd, kept, put_back, take_out

FORM = "application/x-www-form-urlencoded"
PHONE = "353870000000"


def sendmode(database: Database, source: Source, **fields: Any) -> None:
    body = urlencode(fields).encode()
    database.run(lambda s: insert_delivery(s, source=source, body=body, content_type=FORM))
    apply_waiting(database)


def feedback_of(database: Database, execution: FlowExecution) -> list[Feedback]:
    with database.reading() as s:
        found = s.scalars(
            select(Message.feedback).where(Message.execution_id == execution.id).order_by(Message.id)
        )
        return [Feedback(bits) for bits in found]


@pytest.mark.parametrize("is_first", [True, False])
def test_two_facts_with_one_id_of_sendgrids_are_both_counted(engine: Engine, is_first: bool) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    facts = [
        {**event(execution, ids[0], "open", 5), "sg_event_id": "same"},
        {**event(execution, ids[0], "bounce", 7, type="bounce"), "sg_event_id": "same"},
        {**event(execution, ids[1], "open", 5), "sg_event_id": "same"},
    ]
    for fact in facts if is_first else facts[::-1]:
        apply(database, fact, fact)
    counts = counts_of(database, execution)
    assert (counts.messages["opens"], counts.messages["bounced"]) == (2, 1)
    assert counts.reasons["bounced"] == {"unclassified": 1}


def test_two_facts_with_one_id_in_one_post_are_both_counted(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    apply(database, *({**event(execution, each, "open", 5), "sg_event_id": "same"} for each in ids))
    assert counts_of(database, execution).messages["opens"] == len(ids)


def test_a_copy_is_known_by_its_id_or_by_what_it_says(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    fact = event(execution, ids[0], "open", 5)
    without_id = {name: value for name, value in fact.items() if name != "sg_event_id"}
    copies = [{**fact, "timestamp": NOW + 65}, {**fact, "sg_event_id": "other"}, without_id]
    apply(database, fact, *copies)
    for copy in copies:
        apply(database, copy)
    assert counts_of(database, execution).messages["opens"] == 1


@pytest.mark.parametrize("is_first", [True, False])
def test_a_person_and_a_scanner_at_one_link_in_one_second_are_two(engine: Engine, is_first: bool) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    facts = [
        {
            **event(execution, ids[0], kind, 5, url="https://x.example", useragent=agent),
            "sg_event_id": agent + kind,
        }
        for kind in ("open", "click")
        for agent in (CHROME, "Barracuda")
    ]
    for fact in facts if is_first else facts[::-1]:
        apply(database, fact)
    counts = counts_of(database, execution).messages
    names = ("opens", "machine_opens", "clicks", "machine_clicks")
    assert [counts[name] for name in names] == [1, 1, 1, 1]
    assert feedback_of(database, execution)[0] == (
        Feedback.OPENED | Feedback.MACHINE_OPENED | Feedback.CLICKED | Feedback.MACHINE_CLICKED
    )


def test_a_copy_of_a_reply_is_no_answer_to_a_later_sms(engine: Engine) -> None:
    database = Database(engine)
    first, _ = sent(database, clients=1, channel=Channel.SMS)
    reply = {"mobilenumber": PHONE, "command": "yes please", "timestamp": NOW}
    sendmode(database, Source.SENDMODE_REPLY, **reply)
    second = again(database, first)
    sendmode(database, Source.SENDMODE_REPLY, **reply)
    assert feedback_of(database, first) == [Feedback.REPLIED]
    assert feedback_of(database, second) == [Feedback(0)]


def again(database: Database, execution: FlowExecution) -> FlowExecution:
    """A later SMS to the same clients, as the first one was recorded."""

    def work(session: Any) -> FlowExecution:
        session.execute(
            update(Message).where(Message.execution_id == execution.id).values(state=MessageState.ACCEPTED)
        )
        copy = FlowExecution(
            **{
                column.key: getattr(execution, column.key)
                for column in FlowExecution.__table__.columns
                if column.key not in ("id", "uid")
            }
            | {"uid": "bbbbbbbbbbbb"}
        )
        session.add(copy)
        session.flush()
        for row in session.scalars(select(Message).where(Message.execution_id == execution.id)).all():
            session.add(
                Message(
                    execution_id=copy.id,
                    step_id=row.step_id,
                    client_id=row.client_id,
                    channel=row.channel,
                    address=row.address,
                    state=MessageState.ACCEPTED,
                )
            )
        return copy

    return database.run(work)


def test_a_reply_without_a_reference_proves_nothing_of_an_unknown_sms(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database, clients=1, channel=Channel.SMS)
    database.run(
        lambda s: s.execute(update(Message).where(Message.id == ids[0]).values(state=MessageState.UNKNOWN))
    )
    sendmode(database, Source.SENDMODE_REPLY, mobilenumber=PHONE, command="hello", timestamp=NOW)
    with database.reading() as s:
        assert s.get_one(Message, ids[0]).state is MessageState.UNKNOWN
    reference = f"{execution.uid}-{ids[0]}"
    sendmode(database, Source.SENDMODE_DELIVERY, customerid=reference, status="DELIVRD")
    with database.reading() as s:
        assert s.get_one(Message, ids[0]).state is MessageState.ACCEPTED


def test_a_report_without_a_reference_is_kept_as_nobodys(engine: Engine) -> None:
    database = Database(engine)
    execution, _ = sent(database, channel=Channel.SMS)
    for _ in range(2):
        sendmode(database, Source.SENDMODE_DELIVERY, phonenumber=PHONE, status="DELIVRD", eventid="7")
    counts = counts_of(database, execution)
    assert counts.sms["delivered"] == 0
    with database.reading() as s:
        assert s.scalars(select(Event.message_id)).all() == [None]


def test_a_copy_of_an_undated_report_suppresses_nobody_who_has_come_back(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database, channel=Channel.SMS)
    report = {"customerid": f"{execution.uid}-{ids[0]}", "status": "OPTED OUT - BLOCKED"}
    sendmode(database, Source.SENDMODE_DELIVERY, **report)
    sendmode(database, Source.SENDMODE_REPLY, mobilenumber=PHONE, command="START")

    def is_stopped() -> bool:
        with database.reading() as s:
            return is_suppressed(s, Channel.SMS, f"+{PHONE}")

    assert not is_stopped()
    sendmode(database, Source.SENDMODE_DELIVERY, **report)
    assert not is_stopped()
    assert counts_of(database, execution).sms["opted_out"] == 1
    # What people say themselves counts each time: an undated STOP that came twice must not be missed.
    sendmode(database, Source.SENDMODE_REPLY, mobilenumber=PHONE, command="STOP")
    assert is_stopped()


def test_an_event_that_was_faster_than_the_id_of_its_batch_is_found_when_it_comes_again(
    engine: Engine,
) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    database.run(lambda s: s.execute(update(Batch).values(provider_message_id=None)))
    fact = {
        **event(execution, ids[0], "open", 5),
        "email": "client0@example.com",
        "sg_message_id": "X-1.recvd",
    }
    del fact["ics_message"]
    apply(database, fact)
    assert counts_of(database, execution).messages["opens"] == 0
    database.run(lambda s: s.execute(update(Batch).values(provider_message_id="X-1")))
    for _ in range(2):
        apply(database, fact)
    assert counts_of(database, execution).messages["opens"] == 1


def test_two_requests_to_one_address_are_told_apart_without_our_reference(engine: Engine) -> None:
    database = Database(engine)
    runs = several(database, clients=1, times=2)
    said = {"event": "delivered", "email": "client0@example.com", "timestamp": NOW}
    told = [said | {"sg_message_id": f"X-{number}.recvd"} for number in range(2)]
    for each in (*told, *told):
        apply(database, each)
    for execution, _ in runs:
        assert counts_of(database, execution).messages["delivered"] == 1


class TestPieces:
    def test_what_cannot_be_read_is_kept_beside_an_event_that_fails(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database = Database(engine)
        execution, ids = sent(database)

        def fail(_each: Any) -> Any:
            raise Odd

        monkeypatch.setattr(applying, "_row", fail)
        apply(database, event(execution, ids[0], "delivered"), "nonsense")  # type: ignore[arg-type]
        assert sorted(each.problem for each in kept(database)) == [
            WebhookProblem.FAILED,
            WebhookProblem.UNREADABLE,
        ]

    def test_the_same_nonsense_many_times_is_kept_once(self, engine: Engine) -> None:
        database = Database(engine)
        store(database, [7] * 3_000)
        apply_waiting(database)
        [found] = kept(database)
        assert (found.problem, found.attempts) == (WebhookProblem.UNREADABLE, 1)

    def test_why_it_failed_last_is_what_is_shown(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database = Database(engine)
        execution, ids = sent(database)
        row = take_out(database, ids[0])
        apply(database, event(execution, ids[0], "delivered"))
        put_back(database, row)

        def fail(_each: Any) -> Any:
            raise Odd

        with monkeypatch.context() as patch:
            patch.setattr(applying, "_row", fail)
            assert replay_due(database) == 0
        [found] = kept(database)
        assert (found.problem, found.reason, found.attempts) == (
            WebhookProblem.FAILED,
            "Odd while applying",
            2,
        )
        assert replay_due(database) == 1


class TestReplays:
    def test_a_webhook_is_read_once_however_many_of_its_events_are_replayed(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database = Database(engine)
        [(execution, ids)] = several(database, clients=50, times=1)
        rows = [take_out(database, each) for each in ids]
        apply(database, *(event(execution, each, "delivered") for each in ids))
        for row in rows:
            put_back(database, row)
        times = []
        original = parse_deliveries

        def parse(deliveries: Any) -> Any:
            times.append(len(deliveries))
            return original(deliveries)

        monkeypatch.setattr(replaying, "parse_deliveries", parse)
        assert replay_due(database) == 50
        assert times == [1]
        assert counts_of(database, execution).messages["delivered"] == 50

    def test_pauses_grow_so_that_hopeless_events_do_not_keep_the_others_waiting(self, engine: Engine) -> None:
        database = Database(engine)
        execution, ids = sent(database)
        take_out(database, ids[0])
        apply(database, event(execution, ids[0], "delivered"))
        tried = [kept(database)[0].attempts]
        for _ in range(6):
            replay_due(database)
            tried.append(kept(database)[0].attempts)
        assert tried == [1, 2, 3, 4, 4, 4, 4]
        # A person need not wait.
        replay_open(database, by="ada", after=0, limit=10)
        assert (kept(database)[0].attempts, kept(database)[0].replayed_by) == (5, "ada")

    def test_what_nobody_could_read_is_applied_when_it_is_understood(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database = Database(engine)
        execution, ids = sent(database)
        fact = event(execution, ids[0], "delivered")
        odd = {name: value for name, value in fact.items() if name != "timestamp"} | {"when": NOW}
        apply(database, odd, event(execution, ids[1], "open", 5))
        original = sendgrid_events._parse

        def understand(item: Any) -> Any:
            when = item.pop("when", None) if isinstance(item, dict) else None
            return original(item if when is None else {**item, "timestamp": when})

        monkeypatch.setattr(sendgrid_events, "_parse", understand)
        found = replay_open(database, by="ada", after=0, limit=10)
        assert (found.applied, found.open, found.gone) == (1, 0, 0)
        counts = counts_of(database, execution).messages
        assert (counts["delivered"], counts["opens"]) == (1, 1)

    def test_a_kind_that_is_understood_today_is_counted_when_its_webhook_is_applied_again(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database = Database(engine)
        execution, ids = sent(database)
        apply(database, event(execution, ids[0], "devoured", 5), event(execution, ids[0], "open", 5))
        monkeypatch.setitem(sendgrid_events._KINDS, "devoured", EventKind.DELIVERED)
        with database.reading() as s:
            [delivery_id] = s.scalars(select(Event.delivery_id).distinct()).all()
        assert delivery_id is not None
        for _ in range(2):
            replaying.replay_delivery(database, delivery_id, by="ada")
        counts = counts_of(database, execution).messages
        assert (counts["delivered"], counts["opens"]) == (1, 1)

    def test_a_message_that_never_turns_up_is_waited_for_as_long_as_webhooks_are_kept(
        self, engine: Engine
    ) -> None:
        database = Database(engine)
        execution, ids = sent(database)
        foreign = {**event(execution, ids[0], "delivered"), "ics_message": f"aaaaaaaaaaaa-{ids[0]}"}
        apply(database, foreign)
        apply(database, "nonsense")  # type: ignore[arg-type]
        assert forget_old(database, older_than=timedelta(days=1)) == 0
        assert forget_old(database, older_than=timedelta(seconds=-5)) == 1
        # What nobody can read waits for a person.
        assert [each.problem for each in kept(database)] == [WebhookProblem.UNREADABLE]
        with database.reading() as s:
            assert s.scalars(select(WebhookEvent.delivery_id)).all() == [kept(database)[0].delivery_id]


class TestSoftBounces:
    @pytest.fixture(autouse=True)
    def _three(self, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
        monkeypatch.setenv("ICS_SOFT_BOUNCES", "3")
        get_settings.cache_clear()

    def test_those_before_a_person_lifted_it_do_not_count_any_more(self, engine: Engine) -> None:
        database = Database(engine)
        runs = several(database, clients=1, times=6)
        now = days_until_now()
        facts = [
            blocked(execution, ids[0], now + day)
            for day, (execution, ids) in zip((-3, -2, -1, 1, 2, 3), runs, strict=True)
        ]
        apply(database, *facts[:3])
        assert suppressed(database) == {"client0@example.com": ["soft_bounces"]}
        lift(database, "client0@example.com", SuppressionReason.SOFT_BOUNCES)
        apply(database, facts[3])
        apply(database, facts[4], *facts[:3])
        assert suppressed(database) == {}
        apply(database, facts[5])
        assert suppressed(database) == {"client0@example.com": ["soft_bounces"]}

    def test_those_of_another_address_of_the_client_do_not_count(self, engine: Engine) -> None:
        database = Database(engine)
        runs = several(database, clients=1, times=3)
        old = [run[1][0] for run in runs[:2]]
        database.run(
            lambda s: s.execute(update(Message).where(Message.id.in_(old)).values(address="old@example.com"))
        )
        apply(database, *(blocked(execution, ids[0], 0) for execution, ids in runs))
        assert suppressed(database) == {}

    def test_those_that_were_applied_at_the_same_moment_add_up(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As when each of them was looked at before the others were committed."""
        monkeypatch.setattr(applying, "suppress", lambda *_: None)
        database = Database(engine)
        runs = several(database, clients=1, times=3)
        apply(database, *(blocked(execution, ids[0], 0) for execution, ids in runs))
        assert suppressed(database) == {"client0@example.com": ["soft_bounces"]}

    def test_many_of_one_message_are_one(self, engine: Engine) -> None:
        database = Database(engine)
        execution, ids = sent(database, clients=1)
        apply(database, *(blocked(execution, ids[0], day) for day in range(5)))
        assert suppressed(database) == {}


def days_until_now() -> int:
    """What `blocked` calls today."""
    from datetime import UTC, datetime

    return (int(datetime.now(UTC).timestamp()) - NOW) // 86_400


def test_opens_that_are_stored_keep_their_label_when_copies_come_after_the_list_of_scanners_grew(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    fact = event(execution, ids[0], "open", 5, useragent="NewScan/1.0")
    apply(database, fact)
    monkeypatch.setattr("tasks.feedback.labels.is_scanner", lambda raw: "NewScan" in raw["useragent"])
    apply(database, fact)
    counts = counts_of(database, execution).messages
    assert (counts["opened"], counts["machine_opened"]) == (1, 0)
    with database.reading() as s:
        assert get_counts(s, execution.id).messages["opens"] == 1
        assert s.scalars(select(Unsubscribed.id)).all() == []
