"""What events do in the database besides being counted: labels, suppressions by class, and matching without a reference."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, select

from db.engine import Database
from db.models import Event, FlowExecution, Unsubscribed
from db.queries import ledger
from db.queries.recount import recount, recount_minutes
from db.queries.stats import ACCEPTED_MINUTE, Counts, get_counts, list_minutes
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.queries.webhooks import insert_delivery
from db.states import Channel, SuppressionReason
from settings import get_settings
from tasks.feedback.apply import apply_waiting
from tasks.feedback.relabelling import relabel
from tasks.feedback.sources import Source
from tests.builders import add_campaign, add_clients, prepared, to_sending
from tests.integration.test_feedback import NOW, event, sent, store

CHROME = "Mozilla/5.0 Chrome/141.0"


def counts_of(database: Database, execution: FlowExecution) -> Counts:
    """After checking that counts, reasons and minutes equal a recount."""
    with database.reading() as s:
        counts = get_counts(s, execution.id)
        assert counts == recount(s, execution.id)
        minutes = {key: n for key, n in list_minutes(s, execution.id).items() if key[1] != ACCEPTED_MINUTE}
        assert minutes == recount_minutes(s, execution.id)
    return counts


def apply(database: Database, *events: dict[str, Any]) -> None:
    store(database, list(events))
    apply_waiting(database)


def clicks(
    execution: FlowExecution, message_id: int, at: Sequence[int], agent: str = CHROME
) -> list[dict[str, Any]]:
    """One link each."""
    return [
        event(
            execution,
            message_id,
            "click",
            each,
            url=f"https://x.example/{place}",
            useragent=agent,
            sg_event_id=f"c{message_id}-{place}",
        )
        for place, each in enumerate(at)
    ]


def test_a_late_delivery_tells_that_a_scanner_clicked(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    apply(database, *clicks(execution, ids[0], [1, 1, 2]), event(execution, ids[0], "open", 5))
    before = counts_of(database, execution).messages
    assert [before[name] for name in ("clicked", "clicks", "machine_clicked", "machine_clicks")] == [
        1,
        3,
        0,
        0,
    ]
    apply(database, event(execution, ids[0], "delivered", 0))
    after = counts_of(database, execution).messages
    assert [after[name] for name in ("clicked", "clicks", "machine_clicked", "machine_clicks")] == [
        0,
        0,
        1,
        3,
    ]
    assert (after["clicked_by_any"], after["opened"]) == (1, 1)
    apply(
        database,
        *clicks(execution, ids[0], [900])[:1]
        and [{**clicks(execution, ids[0], [900])[0], "sg_event_id": "later"}],
    )
    again = counts_of(database, execution).messages
    assert [again[name] for name in ("clicked", "clicks", "machine_clicked", "machine_clicks")] == [
        1,
        1,
        1,
        3,
    ]


@pytest.mark.parametrize("seed", range(4))
def test_labels_do_not_depend_on_the_order(engine: Engine, seed: int) -> None:
    database = Database(engine)
    (execution, ids), (other, other_ids) = several(database, clients=4, times=2)
    facts = [
        fact
        for own, some in ((execution, ids), (other, other_ids))
        for fact in (
            *clicks(own, some[0], [1, 2, 3, 700]),
            event(own, some[0], "delivered", 0),
            *clicks(own, some[1], [1, 2]),
            event(own, some[1], "delivered", 0),
            *clicks(own, some[2], [40], agent="curl/8.5"),
            event(own, some[2], "open", 3, sg_machine_open=True),
            event(own, some[2], "open", 9, useragent="Barracuda"),
            event(own, some[2], "open", 12, useragent=CHROME),
        )
    ]
    first = [fact for fact in facts if execution.uid in fact["ics_message"]]
    second = [fact for fact in facts if other.uid in fact["ics_message"]]
    apply(database, *first)
    chance = random.Random(seed)
    chance.shuffle(second)
    for fact in [*second, *second[:4]]:
        apply(database, fact)
    assert counts_of(database, execution) == counts_of(database, other)
    assert counts_of(database, other).messages["machine_clicks"] == 4


def test_an_execution_is_labelled_anew_by_the_present_rule(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    apply(database, event(execution, ids[0], "delivered", 0), *clicks(execution, ids[0], [1, 2]))
    apply(database, event(execution, ids[1], "open", 5, useragent=CHROME))
    assert counts_of(database, execution).messages["clicked"] == 1
    assert relabel(database, execution.id, by="ada") == 0
    monkeypatch.setenv("ICS_SCANNER_LINKS", "2")
    get_settings.cache_clear()
    assert relabel(database, execution.id, by="ada") == 2
    counts = counts_of(database, execution).messages
    assert (counts["clicked"], counts["machine_clicked"], counts["opened"]) == (0, 1, 1)
    monkeypatch.setenv("ICS_SCANNER_LINKS", "5")
    get_settings.cache_clear()
    assert relabel(database, execution.id, by="ada") == 2
    assert counts_of(database, execution).messages["clicked"] == 1


def suppressed(database: Database) -> dict[str, list[str]]:
    with database.reading() as s:
        rows = s.execute(
            select(Unsubscribed.address, Unsubscribed.reason).where(Unsubscribed.active.is_(True))
        )
        found: dict[str, list[str]] = {}
        for address, reason in rows:
            found.setdefault(address, []).append(reason.value)
        return found


def blocked(
    execution: FlowExecution, message_id: int, day: int, word: str = "Mailbox Unavailable"
) -> dict[str, Any]:
    return event(execution, message_id, "bounce", day * 86_400, type="blocked", bounce_classification=word)


class TestBounces:
    def test_an_invalid_address_is_suppressed_though_it_was_only_blocked(self, engine: Engine) -> None:
        database = Database(engine)
        execution, ids = sent(database)
        apply(database, blocked(execution, ids[0], 0, "Invalid Address"), blocked(execution, ids[1], 0))
        assert suppressed(database) == {"client0@example.com": ["bounce"]}
        counts = counts_of(database, execution)
        assert counts.reasons["blocked"] == {"invalid_address": 1, "mailbox_unavailable": 1}

    def test_drops_suppress_by_their_reason(self, engine: Engine) -> None:
        database = Database(engine)
        execution, ids = sent(database)
        reasons = ("Bounced Address", "Unsubscribed Address", "Spam Reporting Address", "Spam Content")
        apply(
            database,
            *(event(execution, key, "dropped", reason=each) for key, each in zip(ids, reasons, strict=True)),
        )
        assert suppressed(database) == {
            "client0@example.com": ["bounce"],
            "client1@example.com": ["unsubscribe"],
            "client2@example.com": ["spam_report"],
        }
        assert counts_of(database, execution).reasons["dropped"]["spam_content"] == 1

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
    def test_soft_bounces_of_several_messages_add_up_in_any_order(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
    ) -> None:
        monkeypatch.setenv("ICS_SOFT_BOUNCES", "3")
        get_settings.cache_clear()
        database = Database(engine)
        facts = [
            blocked(execution, ids[0], day)
            for day, (execution, ids) in zip((0, 10, 20), several(database, clients=1, times=3), strict=True)
        ]
        for place in order[:2]:
            apply(database, facts[place], facts[place])
        assert suppressed(database) == {}
        apply(database, facts[order[2]])
        assert suppressed(database) == {"client0@example.com": ["soft_bounces"]}

    def test_soft_bounces_far_apart_do_not_add_up(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ICS_SOFT_BOUNCES", "3")
        get_settings.cache_clear()
        database = Database(engine)
        for day, (execution, ids) in zip((0, 20, 31), several(database, clients=1, times=3), strict=True):
            apply(database, blocked(execution, ids[0], day))
        assert suppressed(database) == {}

    def test_what_a_person_lifted_is_not_suppressed_again_by_the_old_ones(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ICS_SOFT_BOUNCES", "3")
        get_settings.cache_clear()
        database = Database(engine)
        runs = several(database, clients=1, times=3)
        facts = [
            blocked(execution, ids[0], day) for day, (execution, ids) in zip((0, 1, 2), runs, strict=True)
        ]
        apply(database, *facts)
        lift(database, "client0@example.com", SuppressionReason.SOFT_BOUNCES)
        apply(database, *facts)
        assert suppressed(database) == {}


def several(database: Database, *, clients: int, times: int) -> list[tuple[FlowExecution, list[int]]]:
    """Accepted executions to the same clients, with the ids of their messages."""
    campaign = database.run(lambda s: add_campaign(s, clients=clients))
    runs = []
    for number in range(times):
        execution = database.run(lambda s: prepared(s, campaign))
        batch = database.run(lambda s, e=execution: ledger.claim_batch(s, e.id, lease_seconds=60))  # type: ignore[misc]
        assert batch is not None
        ids = sorted(database.run(lambda s, b=batch: to_sending(s, b)))  # type: ignore[misc]
        database.run(lambda s, b=batch, n=number: ledger.accept_batch(s, b, f"X-{n}"))  # type: ignore[misc]
        runs.append((execution, ids))
    return runs


def lift(database: Database, address: str, reason: SuppressionReason) -> None:
    change = SuppressionChange(
        Channel.EMAIL, address, reason, datetime.now(UTC), "token ada", active=False, is_said=False
    )
    database.run(lambda s: apply_suppressions(s, [change]))


def test_an_event_that_lost_our_reference_is_found_by_the_id_of_its_request(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    lost = {
        **event(execution, ids[0], "unsubscribe"),
        "email": "client0@example.com",
        "sg_message_id": "X-1.recvd-5f54b5d587-pczjm-1-67BADEEA-6.0",
    }
    del lost["ics_message"]
    stranger = {**lost, "email": "somebody@else.example", "sg_event_id": "2"}
    apply(database, lost, stranger)
    assert counts_of(database, execution).messages["unsubscribed"] == 1
    with database.reading() as s:
        found = s.execute(select(Event.address, Event.message_id).order_by(Event.message_id.desc())).all()
    assert sorted(found, key=lambda row: row[1] or 0) == [
        ("somebody@else.example", None),
        ("client0@example.com", ids[0]),
    ]


def test_a_reply_of_a_client_who_was_never_written_to_is_the_clients(engine: Engine) -> None:
    database = Database(engine)
    [client_id] = database.run(lambda s: add_clients(s, 1, phone="+353871112223"))
    body = b"mobilenumber=353871112223&command=hello&sentto=50000"
    database.run(
        lambda s: insert_delivery(
            s, source=Source.SENDMODE_REPLY, body=body, content_type="application/x-www-form-urlencoded"
        )
    )
    apply_waiting(database)
    with database.reading() as s:
        [found] = s.scalars(select(Event)).all()
    assert (found.client_id, found.message_id, found.kind, found.reason) == (
        client_id,
        None,
        "reply",
        "hello",
    )
    assert found.occurred_at.timestamp() > NOW
