"""The batch protocol on a real database: claims, fences, suppressions, and counts that always add up."""

from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import Engine, func, select, update

from db.dialect import utc_in
from db.engine import Database, Session
from db.errors import Conflict, StaleToken
from db.models import Batch, Client, FailedJob, FlowExecution, Message
from db.queries import dispatching, executions, leases, ledger
from db.queries.feedback import apply_feedback
from db.queries.recount import recount
from db.queries.stats import get_counts
from db.queries.suppressions import SuppressionChange, apply_suppressions, is_suppressed
from db.queries.transitions import ClaimedBatch
from db.states import (
    BatchState,
    Channel,
    Consent,
    ExecutionState,
    Feedback,
    MessageState,
    SuppressionReason,
)
from tests import builders
from tests.builders import add_campaign, add_clients, prepared

LEASE = 60


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def start(
    database: Database, *, clients: int = 5, batch_size: int = 2, channel: Channel = Channel.EMAIL
) -> int:
    return database.run(
        lambda s: prepared(s, add_campaign(s, clients=clients, channel=channel), batch_size=batch_size).id
    )


def claim(database: Database, execution_id: int, lease: int = LEASE) -> ClaimedBatch:
    batch = database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=lease))
    assert batch is not None
    return batch


def to_sending(database: Database, batch: ClaimedBatch, lease: int = LEASE) -> set[int]:
    return database.run(lambda s: builders.to_sending(s, batch, lease_seconds=lease))


def states(database: Database, execution_id: int) -> dict[str, int]:
    """Counts per state from the ledger, after checking that stats agree with a recount (I6) and add up (I2)."""
    with database.reading() as s:
        counts, fresh = get_counts(s, execution_id), recount(s, execution_id)
    assert counts == fresh
    per_state = {state.value: counts.messages[state.value] for state in MessageState}
    assert counts.messages["intended"] == sum(per_state.values())
    return {state: count for state, count in per_state.items() if count}


def suppress(database: Database, address: str, channel: Channel = Channel.EMAIL, scope: int = 0) -> None:
    change = SuppressionChange(
        channel, address, SuppressionReason.MANUAL, datetime(2026, 1, 1, tzinfo=UTC), "test", scope=scope
    )
    database.run(lambda s: apply_suppressions(s, [change]))


def test_a_snapshot_has_a_row_for_everyone_and_batches_for_those_who_are_written_to(
    database: Database,
) -> None:
    execution_id = start(database, clients=5, batch_size=2)
    assert states(database, execution_id) == {"pending": 5}
    with database.reading() as s:
        sizes = s.scalars(select(Batch.size).order_by(Batch.id)).all()
    assert sizes == [2, 2, 1]


def test_excluded_clients_are_in_the_ledger_with_their_reason(database: Database) -> None:
    def given(s):  # type: ignore[no-untyped-def]
        campaign = add_campaign(s, channel=Channel.SMS)
        list_id = campaign.client_list.id
        add_clients(s, 1, list_id=list_id, email="a@x.ie", phone=None)
        add_clients(s, 1, list_id=list_id, email="b@x.ie", phone="+353871111111", sms_consent=Consent.DENIED)
        add_clients(s, 1, list_id=list_id, email="c@x.ie", phone="+353872222222")
        add_clients(s, 1, list_id=list_id, email="d@x.ie", phone="+353873333333")
        add_clients(s, 1, list_id=list_id, email="e@x.ie", phone="+353874444444")
        add_clients(s, 1, list_id=list_id, email="f@x.ie", phone="+353874444444")
        when = datetime(2026, 1, 1, tzinfo=UTC)
        for address, scope in (("+353872222222", 0), ("+353873333333", campaign.flow.id)):
            change = SuppressionChange(
                Channel.SMS, address, SuppressionReason.STOP, when, "test", scope=scope
            )
            apply_suppressions(s, [change])
        return prepared(s, campaign).id

    execution_id = database.run(given)
    with database.reading() as s:
        assert get_counts(s, execution_id).exclusions == {
            "no_address": 1,
            "no_consent": 1,
            "suppressed": 1,
            "suppressed_for_flow": 1,
            "duplicate_address": 1,
        }
    assert states(database, execution_id) == {"excluded": 5, "pending": 1}


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        (Channel.EMAIL, "nobody"),
        (Channel.EMAIL, "no body@x.ie"),
        (Channel.EMAIL, "a@b@x.ie"),
        (Channel.EMAIL, "a@localhost"),
        (Channel.EMAIL, "@x.ie"),
        (Channel.SMS, "0871234567"),
        (Channel.SMS, "+353 87 123"),
        (Channel.SMS, "+12"),
    ],
)
def test_an_address_that_cannot_be_one_is_not_tried(
    database: Database, channel: Channel, address: str
) -> None:
    """Rows that came past the API and the imports, by SQL for example."""
    values = {"email": address} if channel is Channel.EMAIL else {"phone": address}

    def given(s):  # type: ignore[no-untyped-def]
        campaign = add_campaign(s, channel=channel, clients=1)
        add_clients(s, 1, list_id=campaign.client_list.id, **{"email": "z@x.ie", **values})
        return prepared(s, campaign).id

    execution_id = database.run(given)
    with database.reading() as s:
        assert get_counts(s, execution_id).exclusions == {"invalid_address": 1}
    assert states(database, execution_id) == {"excluded": 1, "pending": 1}


def test_a_flow_that_requires_consent_writes_only_to_those_who_gave_it(database: Database) -> None:
    def given(s):  # type: ignore[no-untyped-def]
        campaign = add_campaign(s, requires_consent=True)
        add_clients(s, 1, list_id=campaign.client_list.id, email="a@x.ie", email_consent=Consent.GRANTED)
        add_clients(s, 1, list_id=campaign.client_list.id, email="b@x.ie")
        return prepared(s, campaign).id

    assert states(database, database.run(given)) == {"excluded": 1, "pending": 1}


def test_addresses_that_differ_only_in_an_accent_are_different(database: Database) -> None:
    suppress(database, "josé@x.ie")

    def given(s):  # type: ignore[no-untyped-def]
        campaign = add_campaign(s)
        for email in ("jose@x.ie", "josé@x.ie"):
            add_clients(s, 1, list_id=campaign.client_list.id, email=email)
        return prepared(s, campaign).id

    assert states(database, database.run(given)) == {"excluded": 1, "pending": 1}


def test_a_second_snapshot_of_the_same_execution_changes_nothing(database: Database) -> None:
    execution_id = start(database)
    database.run(
        lambda s: executions.prepare_execution(s, execution_id, batch_sizes=dict.fromkeys(Channel, 2))
    )
    assert states(database, execution_id) == {"pending": 5}


def test_a_batch_goes_from_pending_to_accepted(database: Database) -> None:
    execution_id = start(database)
    batch = claim(database, execution_id)
    assert len(to_sending(database, batch)) == 2
    assert states(database, execution_id) == {"pending": 3, "sending": 2}
    database.run(lambda s: ledger.accept_batch(s, batch, "X-1"))
    assert states(database, execution_id) == {"pending": 3, "accepted": 2}


def test_two_claims_never_get_the_same_batch(database: Database) -> None:
    execution_id = start(database)
    batches = [claim(database, execution_id) for _ in range(3)]
    assert len({batch.id for batch in batches}) == 3
    assert database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=LEASE)) is None


def test_a_stale_token_changes_no_row(database: Database) -> None:
    execution_id = start(database)
    old = claim(database, execution_id, lease=-1)
    assert database.run(lambda s: leases.release_expired_claims(s, execution_id)) == 1
    new = claim(database, execution_id)
    assert new.id == old.id
    with pytest.raises(StaleToken):
        to_sending(database, old)
    to_sending(database, new)
    for write in (
        lambda s: ledger.accept_batch(s, old, "X"),
        lambda s: ledger.return_batch(s, old, error="x", delay_seconds=0),
        lambda s: ledger.refuse_messages(s, old, {old.first_message_id: "refused"}),
        lambda s: ledger.leave_unknown(s, old, error="x"),
        lambda s: ledger.record_sms(
            s, old, accepted={old.first_message_id: "1"}, failed={}, unknown=[], retry_delay=0, error=None
        ),
    ):
        with pytest.raises(StaleToken):
            database.run(write)
    assert states(database, execution_id) == {"pending": 3, "sending": 2}


def test_a_batch_whose_holder_died_in_sending_is_never_claimed_again(database: Database) -> None:
    execution_id = start(database, clients=2)
    batch = claim(database, execution_id)
    to_sending(database, batch, lease=-1)
    assert database.run(lambda s: leases.release_expired_claims(s, execution_id)) == 0
    assert database.run(lambda s: leases.expire_sending(s, execution_id)) == 1
    assert database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=LEASE)) is None
    assert states(database, execution_id) == {"unknown": 2}
    with pytest.raises(StaleToken):
        database.run(lambda s: ledger.accept_batch(s, batch, "late"))
    assert database.run(lambda s: executions.settle_execution(s, execution_id)) is ExecutionState.SETTLING


def test_evidence_turns_unknown_into_accepted_and_completes_the_execution(database: Database) -> None:
    execution_id = start(database, clients=2)
    batch = claim(database, execution_id)
    ids = to_sending(database, batch)
    database.run(lambda s: ledger.leave_unknown(s, batch, error="reset"))
    assert database.run(lambda s: executions.settle_execution(s, execution_id)) is ExecutionState.SETTLING
    database.run(lambda s: apply_feedback(s, dict.fromkeys(ids, Feedback.PROCESSED)))
    assert states(database, execution_id) == {"accepted": 2}
    assert database.run(lambda s: executions.settle_execution(s, execution_id)) is ExecutionState.COMPLETED


def test_evidence_that_comes_before_the_answer_is_counted_once(database: Database) -> None:
    execution_id = start(database, clients=2, channel=Channel.SMS)
    batch = claim(database, execution_id)
    parts = dict.fromkeys(range(batch.first_message_id, batch.last_message_id + 1), 2)
    ids = database.run(lambda s: builders.to_sending(s, batch, parts=parts))
    early = min(ids)
    database.run(lambda s: apply_feedback(s, {early: Feedback.DELIVERED}))
    database.run(
        lambda s: ledger.record_sms(
            s, batch, accepted=dict.fromkeys(ids, "id"), failed={}, unknown=[], retry_delay=0, error=None
        )
    )
    assert states(database, execution_id) == {"accepted": 2}
    with database.reading() as s:
        assert get_counts(s, execution_id).sms["sent"] == 2
        assert get_counts(s, execution_id).sms["parts"] == 4


def test_only_a_person_sends_unknown_messages_again(database: Database) -> None:
    execution_id = start(database, clients=2)
    batch = claim(database, execution_id)
    to_sending(database, batch)
    database.run(lambda s: ledger.leave_unknown(s, batch, error="reset"))
    database.run(lambda s: executions.settle_execution(s, execution_id))
    assert database.run(lambda s: builders.resend(s, execution_id)).messages == 2
    assert states(database, execution_id) == {"pending": 2}
    again = claim(database, execution_id)
    assert to_sending(database, again) == {again.first_message_id, again.last_message_id}


def test_a_suppression_that_was_committed_is_seen_before_the_socket_opens(database: Database) -> None:
    execution_id = start(database, clients=2)
    batch = claim(database, execution_id)
    suppress(database, "client0@example.com")
    assert len(to_sending(database, batch)) == 1
    assert states(database, execution_id) == {"excluded": 1, "sending": 1}


def test_a_batch_with_nobody_left_is_done(database: Database) -> None:
    execution_id = start(database, clients=1)
    batch = claim(database, execution_id)
    suppress(database, "client0@example.com")
    assert to_sending(database, batch) == set()
    assert database.run(lambda s: executions.settle_execution(s, execution_id)) is ExecutionState.COMPLETED


def test_refused_recipients_fail_and_the_rest_is_due_again(database: Database) -> None:
    execution_id = start(database, clients=2)
    batch = claim(database, execution_id)
    ids = sorted(to_sending(database, batch))
    database.run(lambda s: ledger.refuse_messages(s, batch, {ids[0]: "refused: bad address"}))
    assert states(database, execution_id) == {"pending": 1, "failed": 1}
    again = claim(database, execution_id)
    assert to_sending(database, again) == {ids[1]}


def test_a_returned_batch_waits_for_its_time(database: Database) -> None:
    execution_id = start(database, clients=2)
    batch = claim(database, execution_id)
    to_sending(database, batch)
    database.run(lambda s: ledger.return_batch(s, batch, error="429", delay_seconds=30))
    assert database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=LEASE)) is None
    with database.reading() as s:
        due = leases.next_due_in(s, execution_id)
    assert due is not None
    assert 20 < due <= 30


def test_a_batch_that_gives_up_leaves_a_failed_job(database: Database) -> None:
    execution_id = start(database, clients=2)
    batch = claim(database, execution_id)
    database.run(lambda s: ledger.give_up_batch(s, batch, error="always 429"))
    assert states(database, execution_id) == {"failed": 2}
    with database.reading() as s:
        assert s.scalars(select(FailedJob.subject)).one() == {
            "execution_id": execution_id,
            "batch_id": batch.id,
        }


def test_cancelling_takes_back_what_is_pending_and_what_comes_back_later(database: Database) -> None:
    execution_id = start(database, clients=5, batch_size=2)
    batch = claim(database, execution_id)
    to_sending(database, batch)
    database.run(lambda s: executions.cancel_execution(s, execution_id))
    assert states(database, execution_id) == {"cancelled": 3, "sending": 2}
    database.run(lambda s: ledger.return_batch(s, batch, error="429", delay_seconds=0))
    assert states(database, execution_id) == {"cancelled": 5}
    with pytest.raises(Conflict):
        database.run(lambda s: executions.resume_execution(s, execution_id))


def test_pausing_stops_a_claimed_batch_before_the_socket_opens(database: Database) -> None:
    execution_id = start(database, clients=2)
    batch = claim(database, execution_id)
    database.run(lambda s: executions.pause_execution(s, execution_id, reason="a person"))
    assert to_sending(database, batch) == set()
    assert database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=LEASE)) is None
    database.run(lambda s: executions.resume_execution(s, execution_id))
    assert to_sending(database, claim(database, execution_id)) != set()


def test_a_client_deleted_meanwhile_is_excluded(database: Database) -> None:
    execution_id = start(database, clients=2)
    batch = claim(database, execution_id)
    with database.transaction() as s:
        s.delete(s.scalars(select(Client).order_by(Client.id)).first())
    with database.reading() as s:
        recipients = ledger.read_batch(s, batch)
    excluded = {r.message_id: r.exclusion for r in recipients if r.exclusion}
    assert list(excluded.values()) == ["client_deleted"]
    to_sending(database, batch)
    assert states(database, execution_id) == {"excluded": 1, "sending": 1}


def _apply(change: SuppressionChange, session: Session) -> None:
    apply_suppressions(session, [change])


def test_the_later_change_of_a_suppression_wins_in_any_order(database: Database) -> None:
    stop = SuppressionChange(
        Channel.SMS, "+353871234567", SuppressionReason.STOP, datetime(2026, 1, 1, tzinfo=UTC), "reply"
    )
    start_again = SuppressionChange(
        stop.channel, stop.address, stop.reason, datetime(2026, 1, 2, tzinfo=UTC), "reply", active=False
    )
    for order in ([stop, start_again], [start_again, stop], [stop, start_again, stop]):
        for change in order:
            database.run(partial(_apply, change))
        with database.reading() as s:
            assert not is_suppressed(s, Channel.SMS, stop.address)


def test_an_orphaned_execution_is_listed_for_the_dispatcher(database: Database) -> None:
    execution_id = start(database)
    database.run(lambda s: executions.heartbeat(s, execution_id))

    def listed() -> list[int]:
        with database.reading() as s:
            return list(dispatching.list_undispatched(s, limit=10, orphan_seconds=30))

    assert listed() == []
    database.run(
        lambda s: s.execute(
            update(FlowExecution).where(FlowExecution.id == execution_id).values(heartbeat_at=utc_in(-31))
        )
    )
    assert listed() == [execution_id]


def test_the_same_trigger_opens_one_execution(database: Database) -> None:
    campaign = database.run(lambda s: add_campaign(s, clients=1))
    first, second = (
        database.run(lambda s: executions.insert_execution(s, campaign.flow, trigger_key="2026-01-01").id)
        for _ in range(2)
    )
    assert first == second


def test_every_batch_is_claimed_in_the_order_of_the_ledger(database: Database) -> None:
    execution_id = start(database, clients=6, batch_size=2)
    firsts = [claim(database, execution_id).first_message_id for _ in range(3)]
    assert firsts == sorted(firsts)
    with database.reading() as s:
        assert s.scalar(select(func.count()).select_from(Batch).where(Batch.state == BatchState.CLAIMED)) == 3
        assert s.scalar(select(func.count()).select_from(Message)) == 6
