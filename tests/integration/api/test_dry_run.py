"""A dry run over HTTP tells what the send right after it does, and leaves no trace."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from db.base import Base
from db.engine import Database, Session
from db.models import Template
from db.queries import executions
from db.queries.audience import Target, sample_recipients
from db.queries.stats import get_counts
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, Consent, ExecutionState, SuppressionReason
from settings import get_settings
from tasks.sending.email import EmailSender
from tasks.sending.engine import SendEngine
from tasks.sending.factory import make_sendgrid
from tests.builders import Campaign, add_campaign, add_clients
from tests.integration.api.answers import created, problem_of
from tests.integration.conftest import PUBLIC_URL, Sandbox
from tests.unit.tasks.wire import Wire, response, serving

RATIO = "{{ client.custom.size | divided_by: client.custom.divisor }}"
BATCH_SIZE = 4


@pytest.fixture
def configured(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of both providers, and batches so small that there are several."""
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.x")
    monkeypatch.setenv("SENDMODE_API_KEY", "x")
    monkeypatch.setenv("ICS_EMAIL_BATCH_SIZE", str(BATCH_SIZE))
    monkeypatch.setenv("ICS_PUBLIC_URL", PUBLIC_URL)
    get_settings.cache_clear()


@pytest.fixture
def wire(configured: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A SendGrid that takes everything and keeps it."""
    with serving(response(202, X_Message_Id="m1")) as wire:
        monkeypatch.setenv("SENDGRID_BASE_URL", wire.url)
        get_settings.cache_clear()
        yield wire


def dry_run(api: TestClient, flow_id: int) -> dict[str, Any]:
    answer = api.post(f"/api/flows/{flow_id}/dry-run")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def problems(found: dict[str, Any]) -> dict[str, str]:
    return {problem["field"]: problem["message"] for problem in found["problems"]}


def suppress(session: Session, channel: Channel, address: str, *, flow_id: int = 0) -> None:
    reason, now = SuppressionReason.UNSUBSCRIBE, datetime.now(UTC)
    apply_suppressions(
        session, [SuppressionChange(channel, address, reason, now, source="test", scope=flow_id)]
    )


def add_person(session: Session, campaign: Campaign, number: int, **values: Any) -> None:
    """A client of the campaign's list with an address of its own."""
    row = {"email": f"person{number}@example.com", "phone": f"+35386{number:07d}", **values}
    add_clients(session, 1, list_id=campaign.client_list.id, **row)


def add_excluded(session: Session, campaign: Campaign, channel: Channel) -> dict[str, int]:
    """Clients that must not be written to; returns how many there are of each reason."""
    is_email = channel is Channel.EMAIL
    address, consent = ("email", "email_consent") if is_email else ("phone", "sms_consent")
    for number in (100, 101):
        add_person(session, campaign, number, **{address: None})
    add_person(session, campaign, 102, **{consent: Consent.DENIED})
    for number in (103, 104, 105):
        add_person(session, campaign, number)
        place = f"person{number}@example.com" if is_email else f"+35386{number:07d}"
        suppress(session, channel, place, flow_id=campaign.flow.id if number == 105 else 0)
    return {"no_address": 2, "no_consent": 1, "suppressed": 2, "suppressed_for_flow": 1}


def send(api: TestClient, engine: SendEngine, flow_id: int) -> int:
    """Really send the flow, as the API and a worker do; returns the execution's id."""
    answer = api.post(f"/api/flows/{flow_id}/send")
    assert answer.status_code == 202, answer.text
    execution_id = int(answer.json()["id"])
    sizes = dict.fromkeys(Channel, BATCH_SIZE)
    engine.database.run(lambda s: executions.prepare_execution(s, execution_id, batch_sizes=sizes))
    engine.run_slice(execution_id, most_batches=100)
    state = engine.database.run(lambda s: executions.settle_execution(s, execution_id))
    assert state is ExecutionState.COMPLETED
    return execution_id


def count_rows(database: Database) -> dict[str, int]:
    with database.reading() as s:
        return {
            table.name: s.execute(select(func.count()).select_from(table)).scalar_one()
            for table in Base.metadata.sorted_tables
        }


def test_an_email_dry_run_tells_what_the_send_does(api: TestClient, database: Database, wire: Wire) -> None:
    def given(s: Session) -> tuple[int, dict[str, int]]:
        campaign = add_campaign(s, text=f"Dear {{{{ client.first_name }}}} {RATIO}")
        for number in range(9):
            custom = {"size": 10**number, "divisor": 0 if number == 5 else 1}
            add_person(s, campaign, number, first_name="Zoë" * number, custom_fields=custom)
        return campaign.flow.id, add_excluded(s, campaign, Channel.EMAIL)

    flow_id, exclusions = database.run(given)
    found = dry_run(api, flow_id)
    settings = get_settings()
    with closing(make_sendgrid(settings)) as messenger:
        sender = EmailSender(database, messenger, public_url=settings.public_url, key=b"key")
        execution_id = send(api, SendEngine(database, settings, {Channel.EMAIL: sender}), flow_id)
    with database.reading() as s:
        counts = get_counts(s, execution_id).messages
        uid = executions.get_execution(s, execution_id).uid
        assert get_counts(s, execution_id).exclusions == exclusions
        assert executions.count_batches(s, execution_id) == found["requests"] == 3
    assert found["problems"] == []
    assert found["audience"] == {"total": 15, "recipients": 9, "exclusions": exclusions}
    assert found["audience"]["total"] == counts["intended"]
    assert found["sample"] == {
        "recipients": 9,
        "is_whole_audience": True,
        "failures": {"template_error": counts["failed"]},
        "alone": 0,
    }
    assert (counts["failed"], counts["accepted"]) == (1, 8)
    # Ids of messages go on where the database left off; the dry run's have one digit, as on an empty one.
    bodies = [re.sub(f"{uid}-[0-9]+".encode(), f"{uid}-1".encode(), sent.body) for sent in wire.requests]
    assert len(bodies) == 3
    assert found["email"]["largest_request_bytes"] == max(len(body) for body in bodies)
    assert found["email"]["requests_over_limit"] == 0
    assert found["missing"] == {"client.first_name": 1}
    assert found["sms"] is None
    assert found["seconds"] is None


def test_an_sms_dry_run_tells_what_the_send_does(
    api: TestClient, database: Database, send_engine: SendEngine, sandbox: Sandbox
) -> None:
    def given(s: Session) -> tuple[int, dict[str, int]]:
        campaign = add_campaign(s, channel=Channel.SMS, text="Hi {{ client.custom.words }}" + RATIO)
        texts = ["a" * 10, "b" * 200, "ż" * 10, "ź" * 100, "c" * 1000]
        for number, words in enumerate(texts):
            custom = {"words": words, "size": 2, "divisor": 1}
            add_person(s, campaign, number, custom_fields=custom)
        add_person(s, campaign, 7, custom_fields={"size": 2, "divisor": 0})
        # One phone, shared by a family, is written to once.
        add_person(s, campaign, 8, phone="+353860000001")
        exclusions = add_excluded(s, campaign, Channel.SMS)
        return campaign.flow.id, {**exclusions, "duplicate_address": 1}

    flow_id, exclusions = database.run(given)
    found = dry_run(api, flow_id)
    execution_id = send(api, send_engine, flow_id)
    with database.reading() as s:
        counts = get_counts(s, execution_id)
        uid = executions.get_execution(s, execution_id).uid
        assert get_counts(s, execution_id).exclusions == exclusions
    assert found["problems"] == []
    assert found["audience"] == {"total": 13, "recipients": 6, "exclusions": exclusions}
    assert found["sample"]["failures"] == {"template_error": 1, "too_many_parts": 1}
    assert (counts.messages["failed"], counts.messages["accepted"]) == (2, 4)
    assert found["sms"] == {
        "parts": {"1": 2, "2": 2, "7": 1},
        "encodings": {"gsm7": 3, "ucs2": 2},
        "estimated_parts": 6,
    }
    assert counts.sms["parts"] == sandbox.journal(uid)["parts"] == 6
    assert found["requests"] == 6
    assert found["missing"] == {"client.custom.words": 1}
    assert found["email"] is None


def test_empty_variables_are_counted_among_those_written_to(
    api: TestClient, database: Database, configured: None
) -> None:
    names = ("first_name", "last_name", "phone", "email", "time_zone", "locale", "tags[0]")
    fields = [f"client.{name}" for name in names] + [f"client.custom.{name}" for name in ("city", "n")]
    text = " ".join(f"{{{{ {name} | default: 'x' }}}}" for name in fields)
    text += "{{ client.custom['Größe'] }}{{ client.custom.city.size }}{{ unsubscribe_url }}"

    def given(s: Session) -> int:
        campaign = add_campaign(s, text=text)
        full: dict[str, Any] = {
            "time_zone": "Europe/Dublin",
            "locale": "en-IE",
            "tags": ["vip"],
            "custom_fields": {"city": "Cork", "n": 0},
        }
        people: list[dict[str, Any]] = [
            {},
            {"first_name": "", "locale": None, "custom_fields": {"city": "", "n": False}},
            {"last_name": "", "time_zone": None, "custom_fields": {"city": None, "n": 1.5}},
            {"phone": None, "tags": [], "custom_fields": {"city": "null"}},
            {"locale": "", "custom_fields": {"city": "[]", "n": 'Zoë\'s "n"'}},
            # Not written to, so nothing is missing.
            {"first_name": "", "custom_fields": {}, "email_consent": Consent.DENIED},
        ]
        for number, values in enumerate(people):
            add_person(s, campaign, number, **{**full, **values})
        return campaign.flow.id

    found = dry_run(api, database.run(given))
    assert found["audience"]["recipients"] == 5
    assert found["missing"] == {
        "client.first_name": 1,
        "client.last_name": 1,
        "client.phone": 1,
        "client.time_zone": 1,
        "client.locale": 2,
        "client.tags": 1,
        "client.custom.city": 2,
        "client.custom.n": 1,
        "client.custom.Größe": 5,
    }


def test_more_variables_than_a_statement_takes_are_all_counted(
    api: TestClient, database: Database, configured: None
) -> None:
    text = "".join(f"{{{{ client.custom.c{number} }}}}" for number in range(230))

    def given(s: Session) -> int:
        campaign = add_campaign(s, text=text)
        add_person(s, campaign, 1, custom_fields={f"c{number}": "x" for number in range(0, 230, 2)})
        return campaign.flow.id

    missing = dry_run(api, database.run(given))["missing"]
    assert missing == {f"client.custom.c{number}": 1 for number in range(1, 230, 2)}


def test_nothing_is_written(api: TestClient, database: Database, configured: None, tmp_path: Path) -> None:
    flow_id = database.run(lambda s: add_campaign(s, clients=5)).flow.id
    before, files = count_rows(database), set(tmp_path.iterdir())
    assert dry_run(api, flow_id) == dry_run(api, flow_id)
    assert count_rows(database) == before
    assert set(tmp_path.iterdir()) == files


def test_a_draft_is_told_everything_that_it_lacks(api: TestClient, database: Database) -> None:
    draft = created(api, "/api/flows", name="Spring")
    found = dry_run(api, draft["id"])
    assert problems(found).keys() == {"steps", "client_list_id", "state"}
    assert found["channel"] is None
    assert found["audience"] is found["sample"] is found["requests"] is None
    template = created(api, "/api/templates", name="Email", channel="email", subject="Hi", html="<p>Hi</p>")
    client_list = created(api, "/api/client-lists", name="Nobody")
    changes = {"steps": [{"template_id": template["id"]}], "client_list_id": client_list["id"]}
    assert api.patch(f"/api/flows/{draft['id']}", json=changes).status_code == 200
    found = dry_run(api, draft["id"])
    assert problems(found) == {
        "sender.from_email": "an email flow needs the address it comes from",
        "state": "the flow is draft; activate it first",
        "SENDGRID_API_KEY": problems(found)["SENDGRID_API_KEY"],
        "client_list_id": "nobody would be written to: the list is empty",
    }
    assert found["audience"] == {"total": 0, "recipients": 0, "exclusions": {}}
    assert (found["channel"], found["requests"]) == ("email", 0)


def test_a_draft_without_a_sender_is_measured_all_the_same(
    api: TestClient, database: Database, configured: None
) -> None:
    def given(s: Session) -> int:
        campaign = add_campaign(s, clients=5)
        campaign.flow.sender = {}
        return campaign.flow.id

    found = dry_run(api, database.run(given))
    assert problems(found).keys() == {"sender.from_email"}
    assert found["email"]["largest_request_bytes"] > 1_000


def test_an_audience_of_excluded_clients_is_a_problem(
    api: TestClient, database: Database, configured: None
) -> None:
    campaign = database.run(lambda s: add_campaign(s, clients=2, requires_consent=True))
    found = dry_run(api, campaign.flow.id)
    assert problems(found) == {"client_list_id": "nobody would be written to: all 2 clients are excluded"}
    assert found["audience"]["exclusions"] == {"no_consent": 2}
    assert found["sample"]["recipients"] == found["email"]["largest_request_bytes"] == 0


def test_a_content_that_the_provider_refuses_is_a_problem(
    api: TestClient, database: Database, configured: None
) -> None:
    def given(s: Session) -> Campaign:
        campaign = add_campaign(s, clients=2)
        campaign.version.html = campaign.version.text = ""
        template = s.get_one(Template, campaign.template.id)
        template.archived_at = datetime.now(UTC)
        return campaign

    campaign = database.run(given)
    found = dry_run(api, campaign.flow.id)
    assert [problem["message"] for problem in found["problems"]] == [
        f"template {campaign.template.id} is archived; choose another one",
        "there is neither HTML nor text",
    ]
    assert found["audience"]["recipients"] == 2
    assert found["sample"] is None


def test_subjects_and_values_that_are_too_long_are_counted(
    api: TestClient, database: Database, configured: None
) -> None:
    def given(s: Session) -> int:
        campaign = add_campaign(s, text="".join(f"{{{{ client.custom.c{n} }}}}" for n in range(11)))
        campaign.version.subject = "{{ client.custom.subject }}"
        long = {f"c{n}": "x" * 1_000 for n in range(11)}
        for number, custom in enumerate(
            ({"subject": "Hi"}, {"subject": "x" * 999}, {"subject": " "}, {"subject": "Hi", **long})
        ):
            add_person(s, campaign, number, custom_fields=custom)
        return campaign.flow.id

    found = dry_run(api, database.run(given))
    assert found["sample"]["failures"] == {"subject_too_long": 1, "subject_empty": 1}
    assert found["sample"]["alone"] == 1
    assert found["requests"] == 3


def test_reasons_say_nothing_of_the_clients_data(
    api: TestClient, database: Database, configured: None
) -> None:
    def given(s: Session) -> int:
        campaign = add_campaign(s, text="{{ client.first_name | date: client.last_name | divided_by: 0 }}")
        add_person(s, campaign, 1, first_name="Swordfish", last_name="Secret")
        return campaign.flow.id

    answer = api.post(f"/api/flows/{database.run(given)}/dry-run")
    assert answer.json()["sample"]["failures"] == {"template_error": 1}
    assert not re.search("swordfish|secret|person1", answer.text, re.IGNORECASE)


@pytest.mark.parametrize("flow_id", [1, 2**63 - 1])
def test_a_flow_that_does_not_exist_is_a_404(api: TestClient, flow_id: int) -> None:
    problem_of(api.post(f"/api/flows/{flow_id}/dry-run"), 404)


@pytest.mark.parametrize(
    ("size", "places"),
    [(1, [0]), (3, [0, 4, 7]), (5, [0, 2, 4, 6, 8]), (10, list(range(10))), (99, list(range(10)))],
)
def test_a_sample_is_spread_evenly_over_the_recipients(
    database: Database, size: int, places: list[int]
) -> None:
    def given(s: Session) -> Target:
        campaign = add_campaign(s)
        add_excluded(s, campaign, Channel.EMAIL)
        add_clients(s, 10, list_id=campaign.client_list.id)
        return Target(campaign.flow.id, campaign.client_list.id, Channel.EMAIL, False)

    target = database.run(given)
    with database.reading() as s:
        sample = sample_recipients(s, target, recipients=10, size=size)
    assert [recipient.address for recipient in sample] == [f"client{place}@example.com" for place in places]


def test_an_audience_larger_than_the_sample_is_extrapolated(
    api: TestClient, database: Database, configured: None
) -> None:
    flow_id = database.run(lambda s: add_campaign(s, clients=2_100)).flow.id
    found = dry_run(api, flow_id)
    assert found["sample"] == {"recipients": 1_000, "is_whole_audience": False, "failures": {}, "alone": 0}
    sizes = found["email"]
    full = sizes["constant_bytes"] + BATCH_SIZE * sizes["bytes_per_recipient_mean"]
    assert sizes["largest_request_bytes"] == pytest.approx(full, abs=1)
    assert found["requests"] == 2_100 / BATCH_SIZE
