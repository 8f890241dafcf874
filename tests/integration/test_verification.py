"""I6: counts equal a recount and messages equal their events, whatever comes in which order; `ics stats verify` says where not."""

import io
import random
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import Engine, delete, select, update

from db.engine import Database
from db.errors import NotFound
from db.models import Approval, Event, Message, SendmodeStats, Stats, StatsMinute, StatsReason
from db.queries import verification
from db.queries.executions import set_state
from db.queries.recount import recount_minutes
from db.queries.stats import get_counts, list_minutes
from db.queries.verification import list_differences
from db.states import Breakdown, Channel, ExecutionState, Feedback
from deployments.verify_command import run_verify
from tasks.statistics.verifying import repair, verify
from tests.builders import add_campaign, empty
from tests.integration.sent_executions import Sent, report, send_all

PLACES = 4
KINDS = (
    "processed",
    "deferred",
    "delivered",
    "delivered",
    "click",
    "click",
    "click",
    "open",
    "spamreport",
    "unsubscribe",
    "bounce",
    "blocked",
    "dropped",
)
# Different places that a person could not follow within the seconds after a delivery.
URLS = ("https://a.example", "https://b.example", "https://c.example/?d=1", "https://c.example/?d=2")


Fact = tuple[int, str, int, dict[str, Any]]
"""Place, kind, second and what else a provider says."""


@st.composite
def single(draw: st.DrawFn) -> list[Fact]:
    """One event of any kind. The same place, kind, second and link are one fact, so the rest follows from these."""
    place, kind = draw(st.integers(0, PLACES - 1)), draw(st.sampled_from(KINDS))
    at = draw(st.integers(0, 25))
    more: dict[str, Any] = {}
    if kind == "click":
        return [click(place, draw(st.sampled_from(URLS)), at)]
    if kind == "open" and at % 2:
        more = {"sg_machine_open": True}
    elif kind in ("bounce", "blocked"):
        more = {"event": "bounce", "type": kind, "bounce_classification": ["Technical", "Content"][at % 2]}
    elif kind == "dropped":
        more = {"reason": ["Invalid", "Spam Content"][at % 2]}
    return [(place, kind, at, more)]


@st.composite
def burst(draw: st.DrawFn) -> list[Fact]:
    """A delivery, and links clicked so soon after it that it may be too many for a person; which of them came first, chance says."""
    place, at = draw(st.integers(0, PLACES - 1)), draw(st.integers(0, 5))
    clicks = draw(st.lists(st.tuples(st.sampled_from(URLS), st.integers(0, 14)), min_size=2, max_size=5))
    found = [click(place, url, at + later) for url, later in clicks]
    return draw(st.permutations([*found, (place, "delivered", at, {})]))


def click(place: int, url: str, at: int) -> Fact:
    agent = "Barracuda" if (at + len(url)) % 7 == 0 else "Mozilla/5.0"
    return place, "click", at, {"url": url, "useragent": agent}


def once(found: list[list[Fact]]) -> list[Fact]:
    return list({(*fact[:3], fact[3].get("url")): fact for some in found for fact in some}.values())


histories = st.lists(st.one_of(single(), burst()), max_size=12).map(once)


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


@pytest.fixture
def execution(database: Database) -> Sent:
    return send_all(database, database.run(lambda s: add_campaign(s, clients=PLACES)))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, st.randoms(use_true_random=False))
def test_counts_equal_a_recount_whatever_comes_in_which_order_and_how_often(
    database: Database, some: list[Fact], chance: random.Random
) -> None:
    """Also when a delivery that comes late turns clicks of a person into those of a machine."""
    empty(database.engine)
    campaign = database.run(lambda s: add_campaign(s, clients=PLACES))
    straight, mixed = send_all(database, campaign), send_all(database, campaign)
    for fact in some:
        report(database, [straight.event(*fact[:3], **fact[3])])
    again = some + chance.sample(some, len(some) // 2)
    chance.shuffle(again)
    for start in range(0, len(again), 5):
        report(database, [mixed.event(*fact[:3], **fact[3]) for fact in again[start : start + 5]])
    for each in (straight, mixed):
        found = verify(database, each.id)
        assert (found.counts, found.messages) == ([], [])
    with database.reading() as s:
        assert get_counts(s, straight.id) == get_counts(s, mixed.id)
        assert events_per_minute(list_minutes(s, straight.id)) == events_per_minute(list_minutes(s, mixed.id))


def events_per_minute(minutes: dict[tuple[Any, str], int]) -> dict[tuple[Any, str], int]:
    return {key: count for key, count in minutes.items() if key[1] != "accepted"}


def test_a_late_delivery_moves_clicks_and_their_counts_from_a_person_to_a_machine(
    database: Database, execution: Sent
) -> None:
    report(database, [execution.event(0, "click", 2 + n, url=url) for n, url in enumerate(URLS)])
    assert engagement(database, execution) == {
        "clicked": 1, "machine_clicked": 0, "clicked_by_any": 1, "clicks": 4, "machine_clicks": 0,
    }  # fmt: skip
    report(database, [execution.event(0, "delivered", 1)])
    assert engagement(database, execution) == {
        "clicked": 0, "machine_clicked": 1, "clicked_by_any": 1, "clicks": 0, "machine_clicks": 4,
    }  # fmt: skip
    assert verify(database, execution.id).is_equal


def engagement(database: Database, execution: Sent) -> dict[str, int]:
    names = ("clicked", "machine_clicked", "clicked_by_any", "clicks", "machine_clicks")
    with database.reading() as s:
        counts = get_counts(s, execution.id).messages
    return {name: counts[name] for name in names}


def spoil(database: Database, execution: Sent) -> None:
    """One count too many in each table, and one minute that nobody had."""

    def work(s: Any) -> None:
        s.execute(update(Stats).values(delivered=Stats.delivered + 1, accepted=Stats.accepted - 2))
        s.execute(update(SendmodeStats).values(parts=7))
        s.execute(update(StatsReason).values(count=StatsReason.count + 5))
        s.execute(update(StatsMinute).where(StatsMinute.kind == "bounce").values(count=9))
        s.execute(update(StatsMinute).where(StatsMinute.kind == "accepted").values(count=1))
        s.add(StatsReason(execution_id=execution.id, breakdown=Breakdown.DROPPED, reason="other", count=1))

    report(
        database,
        [
            execution.event(0, "delivered"),
            execution.event(1, "bounce", type="bounce", bounce_classification="Technical"),
        ],
    )
    database.run(work)


def said(
    database: Database, execution_id: int | None = None, *, with_repair: bool = False
) -> tuple[int, str]:
    out = io.StringIO()
    console = Console(file=out, width=200, soft_wrap=True)
    code = run_verify(
        database, execution_id, with_repair=with_repair, console=console, errors=Console(file=io.StringIO())
    )
    return code, out.getvalue()


def test_each_difference_is_a_line_and_an_exit_code(database: Database, execution: Sent) -> None:
    assert said(database) == (0, "1 of 1 executions are equal to a recount\n")
    spoil(database, execution)
    code, text = said(database, execution.id)
    assert code == 1
    assert text.splitlines() == [
        f"execution {execution.id}: stats accepted is 2, counted 4",
        f"execution {execution.id}: stats delivered is 2, counted 1",
        f"execution {execution.id}: stats bounced.technical is 6, counted 1",
        f"execution {execution.id}: stats dropped.other is 1, counted 0",
        f"execution {execution.id}: sendmode_stats parts is 7, counted 0",
        f"execution {execution.id}: stats_minutes 2026-09-21T14:13:00+00:00 bounce is 9, counted 1",
        f"execution {execution.id}: stats_minutes accepted is 1, counted 4",
        "0 of 1 executions are equal to a recount",
    ]


def test_a_repair_sets_right_what_differs_and_is_kept_with_who_wanted_it(
    database: Database, execution: Sent
) -> None:
    spoil(database, execution)
    code, text = said(database, with_repair=True)
    assert code == 1
    assert f"execution {execution.id}: repaired" in text
    assert said(database)[0] == 0
    with database.reading() as s:
        [kept] = s.scalars(select(Approval)).all()
    assert (kept.action, kept.execution_id) == ("repair_stats", execution.id)
    assert kept.approved_by.startswith("ics stats verify (")
    assert (kept.details["messages"], kept.details["counts"]) == (0, 7)


def test_an_equal_execution_is_not_repaired(database: Database, execution: Sent) -> None:
    assert said(database, execution.id, with_repair=True)[0] == 0
    with database.reading() as s:
        assert s.scalars(select(Approval)).all() == []


def test_messages_that_lack_what_their_events_say_are_named_and_repaired(
    database: Database, execution: Sent
) -> None:
    events = [execution.event(0, "delivered"), execution.event(1, "click", 60, url=URLS[0])]
    report(database, events)
    ids = execution.ids
    database.run(lambda s: s.execute(update(Message).where(Message.id.in_(ids[:2])).values(feedback=1)))
    code, text = said(database)
    assert code == 1
    assert f"message {ids[0]} has processed; its events say delivered" in text
    assert f"message {ids[1]} has processed; its events say clicked" in text
    # What was reported once and no event explains is not undone, and still said.
    code, text = said(database, with_repair=True)
    assert f"message {ids[0]} has processed delivered; its events say delivered" in text
    assert code == 1
    with database.reading() as s:
        assert get_counts(s, execution.id).messages["delivered"] == 1
        assert list_differences(s, execution.id) == []
        stored = s.scalars(select(Message.feedback).where(Message.id.in_(ids[:2])).order_by(Message.id)).all()
    assert stored == [
        Feedback.PROCESSED | Feedback.DELIVERED,
        Feedback.PROCESSED | Feedback.CLICKED,
    ]


def test_only_the_first_few_messages_are_named(database: Database) -> None:
    execution = send_all(database, database.run(lambda s: add_campaign(s, clients=9)))
    database.run(lambda s: s.execute(update(Message).values(feedback=4)))
    _, text = said(database, execution.id)
    assert text.count("its events say nothing") == 5
    assert f"execution {execution.id}: and 4 messages more" in text


def test_who_was_erased_may_have_said_more_than_events_tell_but_not_less(
    database: Database, execution: Sent
) -> None:
    report(database, [execution.event(0, "delivered")])
    erased = Message.id == execution.ids[0]
    more = int(Feedback.DELIVERED | Feedback.UNSUBSCRIBED)
    database.run(lambda s: s.execute(update(Message).where(erased).values(address=None, feedback=more)))
    assert verify(database, execution.id).wrong_messages == 0
    database.run(lambda s: s.execute(update(Message).where(erased).values(feedback=0)))
    assert verify(database, execution.id).wrong_messages == 1


def test_counts_whose_ledger_is_archived_are_left_alone(database: Database, execution: Sent) -> None:
    report(database, [execution.event(0, "delivered")])
    gone = delete(Message).where(Message.id <= execution.ids[1])
    database.run(lambda s: s.execute(gone))
    # While it is being sent nobody may take messages away.
    assert said(database)[0] == 1
    database.run(lambda s: set_state(s, execution.id, ExecutionState.COMPLETED))
    code, text = said(database, with_repair=True)
    assert code == 0
    assert text.endswith("1 have no ledger to be compared with any more\n")
    with database.reading() as s:
        assert get_counts(s, execution.id).messages["intended"] == PLACES
        assert get_counts(s, execution.id).messages["delivered"] == 1


def test_an_sms_execution_is_compared_with_its_parts(database: Database) -> None:
    campaign = database.run(lambda s: add_campaign(s, clients=3, channel=Channel.SMS))
    execution = send_all(database, campaign)
    assert verify(database, execution.id).is_equal
    database.run(lambda s: s.execute(update(SendmodeStats).values(sent=2)))
    [difference] = verify(database, execution.id).counts
    assert (difference.table, difference.name, difference.stored, difference.counted) == (
        "sendmode_stats",
        "sent",
        2,
        3,
    )


def test_an_execution_that_is_not_there_is_an_error_and_one_without_a_snapshot_is_none(
    database: Database, execution: Sent
) -> None:
    with pytest.raises(NotFound):
        said(database, execution.id + 1)
    database.run(lambda s: s.execute(delete(Stats)))
    assert said(database, execution.id) == (0, "0 of 0 executions are equal to a recount\n")


def test_what_is_applied_between_the_two_looks_is_no_difference(database: Database, execution: Sent) -> None:
    with database.snapshot() as s:
        before = get_counts(s, execution.id).messages["delivered"]
        report(database, [execution.event(place, "delivered") for place in range(PLACES)])
        assert list_differences(s, execution.id) == []
        assert get_counts(s, execution.id).messages["delivered"] == before == 0
    with database.snapshot() as s:
        assert get_counts(s, execution.id).messages["delivered"] == PLACES


def test_a_repair_sees_one_moment_and_keeps_what_is_applied_during_it(
    database: Database, execution: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second report of the same kind moves no count but that of its minute, and so waits for nobody."""
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: nothing comes in between")
    report(database, [execution.event(0, "deferred")])
    spoil_minutes = update(StatsMinute).where(StatsMinute.kind == "deferred").values(count=5)
    database.run(lambda s: s.execute(spoil_minutes))

    def meanwhile(session: Any, execution_id: int) -> Any:
        report(database, [execution.event(0, "deferred", 1)])
        return recount_minutes(session, execution_id)

    monkeypatch.setattr(verification, "recount_minutes", meanwhile)
    database.run_at_one_moment(lambda s: verification.repair_counts(s, execution.id))
    monkeypatch.undo()
    assert verify(database, execution.id).is_equal
    with database.reading() as s:
        assert list(events_per_minute(list_minutes(s, execution.id)).values()) == [2]


def test_verifying_and_repairing_while_webhooks_are_applied_loses_and_invents_nothing(
    database: Database, engine: Engine
) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: nothing comes in between")
    execution = send_all(database, database.run(lambda s: add_campaign(s, clients=PLACES)))
    database.run(lambda s: s.execute(update(Stats).values(delivered=50, opens=Stats.opens - 3)))

    def apply_many() -> None:
        for at in range(40):
            report(
                database,
                [
                    execution.event(at % PLACES, "deferred", at),
                    execution.event(at % PLACES, "open", at),
                    execution.event(at % PLACES, "delivered", at),
                ],
            )

    thread = threading.Thread(target=apply_many)
    thread.start()
    left = repair(database, execution.id, approved_by="Ada")
    assert left.is_equal
    while thread.is_alive():
        found = verify(database, execution.id)
        assert (found.counts, found.messages) == ([], [])
    thread.join()
    assert verify(database, execution.id).is_equal
    with database.reading() as s:
        counts = get_counts(s, execution.id).messages
        assert s.query(Event).count() == 120
    assert (counts["delivered"], counts["opens"]) == (PLACES, 40)
