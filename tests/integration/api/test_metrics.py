"""`/metrics` and the overview: what they count, that they name nobody, and that they answer when the database does not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from sqlalchemy import update
from sqlalchemy.orm import Session

from api.app import create_app
from api.exposition import OverviewReader
from db.dialect import utc_in
from db.engine import Database, get_database, make_engine
from db.models import (
    Batch,
    BulkOperation,
    FailedJob,
    FlowExecution,
    MemberImport,
    WebhookDelivery,
    WebhookEvent,
)
from db.queries import dispatching, executions, ledger
from db.queries.leases import expire_sending
from db.states import BulkAction, Channel, ExecutionState, InboxState, WebhookProblem
from deployments.client import ApiClient
from deployments.health_command import findings, show_health
from settings import get_settings
from tests.builders import add_campaign, prepared, to_sending
from tests.integration.api.answers import problem_of

URL = "/api/operations/overview"


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.exposition.FRESH_SECONDS", 0.0)


def scraped(client: TestClient) -> dict[str, float]:
    """Every sample, by its name and its labels: `ics_executions{state=queued}`."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def executed(database: Database, name: str = "Spring", channel: Channel = Channel.EMAIL) -> FlowExecution:
    """An execution of four messages, of which nothing was sent."""
    campaign = database.run(lambda s: add_campaign(s, name=name, clients=4, channel=channel))
    return database.run(lambda s: prepared(s, campaign))


def age(database: Database, execution_id: int, **seconds: float) -> None:
    """As if these moments of the execution were so many seconds ago."""
    values = {name: utc_in(-value) for name, value in seconds.items()}
    database.run(
        lambda s: s.execute(update(FlowExecution).where(FlowExecution.id == execution_id).values(values))
    )


class TestMetrics:
    def test_an_empty_installation_shows_every_count_as_zero(self, anonymous: TestClient) -> None:
        found = scraped(anonymous)
        assert found["ics_database_up"] == 1
        assert found["ics_executions{state=queued}"] == 0
        assert found["ics_inbox_webhooks{state=received}"] == 0
        assert found["ics_messages{channel=sms,state=accepted}"] == 0
        assert found["ics_thread_up{thread=inbox}"] == 1
        assert found["ics_thread_up{thread=applier-0}"] == 1
        assert found["process_resident_memory_bytes"] > 0

    def test_messages_are_told_apart_by_channel_and_state(
        self, anonymous: TestClient, database: Database
    ) -> None:
        execution = executed(database)
        batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
        assert batch is not None
        database.run(lambda s: to_sending(s, batch))
        database.run(lambda s: ledger.accept_batch(s, batch, "X-1"))
        found = scraped(anonymous)
        assert found["ics_messages{channel=email,state=accepted}"] == 4
        assert found["ics_messages_intended{channel=email}"] == 4
        assert found["ics_messages{channel=sms,state=accepted}"] == 0
        assert found["ics_feedback_messages{channel=email,feedback=delivered}"] == 0

    def test_unknown_messages_are_counted_with_the_age_of_the_oldest(
        self, anonymous: TestClient, database: Database
    ) -> None:
        execution = executed(database)
        batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
        assert batch is not None
        database.run(lambda s: to_sending(s, batch))
        assert scraped(anonymous)["ics_batches_expired"] == 0
        database.run(lambda s: s.execute(update(Batch).values(lease_until=utc_in(-1))))
        assert scraped(anonymous)["ics_batches_expired"] == 1
        database.run(lambda s: expire_sending(s, execution.id))
        database.run(lambda s: s.execute(update(Batch).values(updated_at=utc_in(-7200))))
        found = scraped(anonymous)
        assert found["ics_messages{channel=email,state=unknown}"] == 4
        assert found["ics_unknown_age_seconds"] == pytest.approx(7200, abs=60)
        assert found["ics_batches_expired"] == 0

    def test_the_inbox_shows_its_depth_and_how_long_webhooks_wait(
        self, anonymous: TestClient, database: Database
    ) -> None:
        old = {"source": "sendgrid", "body": b"[]"}

        def add(s: Session, **values: Any) -> None:
            s.add(WebhookDelivery(**old, **values))

        # In a state that the applier of this process leaves alone.
        database.run(lambda s: add(s, state=InboxState.FAILED, received_at=utc_in(-900)))
        database.run(
            lambda s: add(s, state=InboxState.APPLIED, received_at=utc_in(-10), applied_at=utc_in(-4))
        )
        database.run(
            lambda s: add(s, state=InboxState.APPLIED, received_at=utc_in(-4), applied_at=utc_in(-2))
        )
        database.run(
            lambda s: add(s, state=InboxState.APPLIED, received_at=utc_in(-900), applied_at=utc_in(-300))
        )
        found = scraped(anonymous)
        assert found["ics_inbox_webhooks{state=failed}"] == 1
        assert found["ics_inbox_webhooks_age_seconds{state=failed}"] == pytest.approx(900, abs=60)
        assert found["ics_webhooks_applied_lately"] == 2
        assert found["ics_webhook_lag_seconds{of=max}"] == pytest.approx(6, abs=0.5)
        assert found["ics_webhook_lag_seconds{of=mean}"] == pytest.approx(4, abs=0.5)

    def test_what_waits_for_people_is_counted_by_its_kind(
        self, anonymous: TestClient, database: Database
    ) -> None:
        def add(s: Session) -> None:
            s.add_all(
                [
                    FailedJob(kind="send_batch", error="gave up"),
                    FailedJob(kind="import", error="bad file"),
                    FailedJob(kind="import", error="bad file", state="retried"),
                    WebhookEvent(
                        fingerprint=b"x" * 32,
                        delivery_id=1,
                        source="sendgrid",
                        problem=WebhookProblem.UNREADABLE,
                        reason="not JSON",
                    ),
                    MemberImport(
                        uid="a" * 12, filename="a.csv", size_bytes=1, mapping={}, created_at=utc_in(-600)
                    ),
                    BulkOperation(uid="b" * 12, action=BulkAction.DELETE, created_by="tests"),
                ]
            )

        database.run(add)
        found = scraped(anonymous)
        assert found["ics_failed_jobs_open{kind=send_batch}"] == 1
        assert found["ics_failed_jobs_open{kind=import}"] == 1
        assert found["ics_webhook_events_open{problem=unreadable}"] == 1
        assert found["ics_imports{state=queued}"] == 1
        assert found["ics_imports_age_seconds{state=queued}"] == pytest.approx(600, abs=60)
        assert found["ics_bulk_operations{state=queued}"] == 1

    def test_requests_are_counted_by_the_template_of_their_route(self, anonymous: TestClient) -> None:
        for number in range(3):
            anonymous.get(f"/api/clients/{number + 1}")
        anonymous.get("/nothing/of/ours")
        anonymous.request("BREW", "/health")
        found = scraped(anonymous)
        key = "method=GET,route=/api/clients/{client_id}"
        assert found[f"ics_http_requests_total{{{key},status=401}}"] == 3
        assert found[f"ics_http_request_seconds_count{{{key}}}"] == 3
        assert found["ics_http_requests_total{method=GET,route=none,status=404}"] == 1
        assert any("method=other" in name for name in found)
        assert not any("BREW" in name or "nothing" in name for name in found)

    def test_an_error_of_ours_is_counted_too(
        self, anonymous: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError

        monkeypatch.setattr("api.routers.health.check_connection", fail)
        assert anonymous.get("/ready").status_code == 500
        assert scraped(anonymous)["ics_http_requests_total{method=GET,route=/ready,status=500}"] == 1

    def test_refused_webhooks_are_counted_by_reason(
        self, anonymous: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        anonymous.post("/webhooks/sendgrid", content=b"[]")
        monkeypatch.setenv("SENDMODE_WEBHOOK_SECRET", "secret")
        get_settings.cache_clear()
        anonymous.post("/webhooks/sendmode/reply", content=b"x")
        anonymous.post("/webhooks/sendmode/delivery/wrong", content=b"x")
        anonymous.post("/webhooks/sendmode/delivery/wrong", content=b"x" * 3_000_000)
        assert anonymous.post("/webhooks/sendmode/reply/secret", content=b"mobilenumber=1").text == "True"
        found = scraped(anonymous)
        refusals = {name: value for name, value in found.items() if "refusals_total" in name and value}
        assert refusals == {
            "ics_webhook_refusals_total{reason=not_configured,source=sendgrid}": 1,
            "ics_webhook_refusals_total{reason=unsigned,source=sendmode_reply}": 1,
            "ics_webhook_refusals_total{reason=wrong_signature,source=sendmode_delivery}": 1,
            "ics_webhook_refusals_total{reason=too_large,source=sendmode_delivery}": 1,
        }
        assert found["ics_webhooks_total{source=sendmode_reply}"] == 1
        assert found["ics_webhook_bytes_total{source=sendmode_reply}"] == 14

    def test_a_process_begins_with_counts_of_its_own(self, anonymous: TestClient) -> None:
        found = scraped(anonymous)
        assert not [
            name for name, value in found.items() if name.startswith("ics_http_requests_total") and value
        ]


class TestToken:
    @pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic swordfish", "swordfish", "Bearer \xff"])
    def test_where_one_is_set_nobody_else_scrapes(
        self, anonymous: TestClient, monkeypatch: pytest.MonkeyPatch, header: str
    ) -> None:
        monkeypatch.setenv("ICS_METRICS_TOKEN", "swordfish")
        get_settings.cache_clear()
        problem_of(anonymous.get("/metrics", headers={"Authorization": header.encode("latin-1")}), 401)

    def test_opens_the_metrics(self, anonymous: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ICS_METRICS_TOKEN", "swordfish")
        get_settings.cache_clear()
        assert anonymous.get("/metrics", headers={"Authorization": "Bearer swordfish"}).status_code == 200


class TestWithoutDatabase:
    @contextmanager
    def away(self, tmp_path: Path) -> Iterator[TestClient]:
        app = create_app()
        app.dependency_overrides[get_database] = lambda: Database(make_engine(f"sqlite:///{tmp_path}"))
        yield TestClient(app, raise_server_exceptions=False)

    def test_the_metrics_say_so(self, tmp_path: Path) -> None:
        with self.away(tmp_path) as client:
            for _ in range(2):
                found = scraped(client)
                assert found["ics_database_up"] == 0
                assert found["process_resident_memory_bytes"] > 0
                assert not any(name.startswith("ics_executions") for name in found)

    def test_a_database_that_hangs_does_not_hang_the_scrape(
        self, anonymous: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.exposition.PATIENCE_SECONDS", 0.05)
        monkeypatch.setattr(OverviewReader, "_read", lambda _: time.sleep(0.5))
        began = time.monotonic()
        assert scraped(anonymous)["ics_database_up"] == 0
        assert scraped(anonymous)["ics_database_up"] == 0
        assert time.monotonic() - began < 0.4

    def test_scrapes_that_come_together_read_the_database_once(
        self, anonymous: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.exposition.FRESH_SECONDS", 60.0)
        readings: list[object] = []
        monkeypatch.setattr(OverviewReader, "_read", lambda reader: readings.append(reader))
        for _ in range(5):
            scraped(anonymous)
        assert len(readings) == 1


class TestUnclaimed:
    def test_an_execution_that_nobody_takes_is_listed_with_its_age(
        self, api: TestClient, database: Database
    ) -> None:
        execution = executed(database)
        assert api.get(URL).json()["unclaimed"] == []
        age(database, execution.id, created_at=90)
        (unclaimed,) = api.get(URL).json()["unclaimed"]
        assert unclaimed["execution_id"] == execution.id
        assert unclaimed["seconds"] == pytest.approx(90, abs=30)
        found = scraped(api)
        assert found["ics_executions_unclaimed"] == 1
        assert found["ics_execution_unclaimed_age_seconds"] == pytest.approx(90, abs=30)

    def test_a_queued_one_shows_since_when_it_waits(self, api: TestClient, database: Database) -> None:
        campaign = database.run(lambda s: add_campaign(s, clients=1))
        execution = database.run(lambda s: executions.insert_execution(s, campaign.flow))
        age(database, execution.id, created_at=500)
        queued = api.get(URL).json()["queued"]
        assert queued["count"] == 1
        assert queued["oldest_seconds"] == pytest.approx(500, abs=60)

    def test_a_worker_that_shows_life_takes_it_off_the_list(
        self, api: TestClient, database: Database
    ) -> None:
        execution = executed(database)
        age(database, execution.id, created_at=900)
        database.run(lambda s: executions.heartbeat(s, execution.id))
        assert api.get(URL).json()["unclaimed"] == []
        age(database, execution.id, heartbeat_at=61)
        assert api.get(URL).json()["unclaimed"][0]["seconds"] == pytest.approx(61, abs=20)

    def test_asking_prefect_again_and_again_is_no_sign_of_life(
        self, api: TestClient, database: Database
    ) -> None:
        execution = executed(database)
        age(database, execution.id, created_at=9000, heartbeat_at=200)
        for _ in range(3):
            database.run(lambda s: dispatching.next_attempt(s, execution.id))
            assert api.get(URL).json()["unclaimed"][0]["seconds"] == pytest.approx(200, abs=60)
            database.run(lambda s: dispatching.release_dispatch(s, execution.id))
        assert api.get(URL).json()["unclaimed"][0]["seconds"] == pytest.approx(200, abs=60)

    def test_one_that_was_resumed_waits_from_then_on(self, api: TestClient, database: Database) -> None:
        execution = executed(database)
        age(database, execution.id, created_at=9000)
        database.run(lambda s: executions.pause_execution(s, execution.id, reason="lunch"))
        assert api.get(URL).json()["unclaimed"] == []
        database.run(lambda s: executions.resume_execution(s, execution.id))
        assert api.get(URL).json()["unclaimed"] == []
        age(database, execution.id, waiting_since=70)
        assert len(api.get(URL).json()["unclaimed"]) == 1

    @pytest.mark.parametrize(
        "state",
        [ExecutionState.HELD, ExecutionState.PAUSED, ExecutionState.SETTLING, ExecutionState.COMPLETED],
    )
    def test_who_waits_for_people_or_evidence_is_not_unclaimed(
        self, api: TestClient, database: Database, state: ExecutionState
    ) -> None:
        execution = executed(database)
        age(database, execution.id, created_at=9000)
        database.run(lambda s: s.execute(update(FlowExecution).values(state=state)))
        assert api.get(URL).json()["unclaimed"] == []


class TestHealthCommand:
    def shown(self, api: TestClient) -> tuple[int, str]:
        client = ApiClient("http://testserver", "unused")
        client._http.close()
        client._http = api
        text = StringIO()
        return show_health(client, console=Console(width=200, file=text)), text.getvalue()

    def test_says_nothing_to_do_when_nothing_is(self, api: TestClient) -> None:
        assert [each for each in findings(api.get(URL).json()) if each.hint] == []
        assert self.shown(api)[0] == 0

    def test_names_what_is_stuck_and_what_to_do(self, api: TestClient, database: Database) -> None:
        execution = executed(database)
        age(database, execution.id, created_at=9000)
        code, text = self.shown(api)
        assert code == 1
        assert f"1: {execution.id}" in text
        assert "is Prefect up" in text
