"""Unsubscribing by a link: one click (RFC 8058), the page of choices, and what scanners do."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from db.engine import Database
from db.models import Client, Flow, Message, Unsubscribed
from db.queries import ledger
from db.queries.recount import recount
from db.queries.stats import get_counts
from db.queries.suppressions import SuppressionChange, apply_suppressions, is_suppressed
from db.states import Channel, SuppressionReason, UnsubscribeScope
from settings import get_settings
from tasks.feedback.unsubscribe_links import unsubscribe_url
from tasks.signing import secret_key
from tests.builders import add_campaign, prepared, to_sending

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


class Mail:
    """A message that was sent, and the link in it."""

    def __init__(
        self, database: Database, *, name: str = "Spring", clients: int = 1, **flow_values: Any
    ) -> None:
        self.database = database
        campaign = database.run(lambda s: add_campaign(s, name=name, clients=clients, **flow_values))
        self.flow_id = campaign.flow.id
        self.list_id = campaign.client_list.id
        self.send()

    def send(self) -> None:
        database = self.database
        execution = database.run(lambda s: prepared(s, _campaign(s, self.flow_id)))
        batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
        assert batch is not None
        self.message_id = min(database.run(lambda s: to_sending(s, batch)))
        database.run(lambda s: ledger.accept_batch(s, batch, "X-1"))
        self.execution = execution
        self.url = unsubscribe_url("", secret_key(get_settings()), f"{execution.uid}-{self.message_id}")

    def is_suppressed(self, flow_id: int = 0, channel: Channel = Channel.EMAIL) -> bool:
        address = "client0@example.com" if channel is Channel.EMAIL else "+353870000000"
        with self.database.reading() as s:
            return is_suppressed(s, channel, address, flow_id)

    def unsubscribed(self) -> int:
        """As counted, and as recounted."""
        with self.database.reading() as s:
            counts = get_counts(s, self.execution.id)
            assert counts == recount(s, self.execution.id)
            return counts.messages["unsubscribed"]


class _Known:
    def __init__(self, flow: Flow) -> None:
        self.flow = flow


def _campaign(session: Any, flow_id: int) -> Any:
    return _Known(session.get_one(Flow, flow_id))


@pytest.fixture
def mail(anonymous: TestClient, database: Database) -> Mail:
    return Mail(database)


@pytest.mark.parametrize(
    "request_body",
    [
        {"data": ONE_CLICK},
        {"files": {"List-Unsubscribe": (None, "One-Click")}},
        {},
        {"content": b"\xff\xfe not a form", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}},
        {"content": b'{"a": 1}', "headers": {"Content-Type": "application/json"}},
        {"files": {"List-Unsubscribe": ("name.txt", b"One-Click")}},
        {"data": {"action": "something else"}},
    ],
)
def test_one_click_unsubscribes_however_it_is_said(
    anonymous: TestClient, mail: Mail, request_body: dict[str, Any]
) -> None:
    answer = anonymous.post(mail.url, follow_redirects=False, **request_body)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert "Unsubscribed" in answer.text
    assert mail.is_suppressed()
    assert mail.unsubscribed() == 1


def test_scanners_change_nothing(anonymous: TestClient, mail: Mail) -> None:
    for _ in range(2):
        assert anonymous.get(mail.url).status_code == 200
        assert anonymous.head(mail.url).status_code == 200
    assert anonymous.options(mail.url).status_code == 405
    assert not mail.is_suppressed()


def test_a_large_body_is_refused(anonymous: TestClient, mail: Mail) -> None:
    assert anonymous.post(mail.url, content=b"x" * 20_000).status_code == 413
    assert not mail.is_suppressed()


@pytest.mark.parametrize(
    "change", [lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"), lambda _: "/unsubscribe/x.y"]
)
def test_a_link_that_is_not_ours_is_not_found(anonymous: TestClient, mail: Mail, change: Any) -> None:
    for answer in (anonymous.get(change(mail.url)), anonymous.post(change(mail.url), data=ONE_CLICK)):
        assert answer.status_code == 404
    assert not mail.is_suppressed()


def test_links_outlive_the_key_that_signed_them(
    anonymous: TestClient, mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = secret_key(get_settings()).decode()
    monkeypatch.setenv("ICS_SECRET_KEY", "new")
    get_settings.cache_clear()
    assert anonymous.get(mail.url).status_code == 404
    monkeypatch.setenv("ICS_OLD_SECRET_KEYS", f"older, {old}")
    get_settings.cache_clear()
    assert anonymous.post(mail.url, data=ONE_CLICK).status_code == 200
    assert mail.is_suppressed()


def test_a_flow_may_end_only_itself_by_one_click(anonymous: TestClient, database: Database) -> None:
    mail = Mail(database, unsubscribe_scope=UnsubscribeScope.FLOW)
    assert anonymous.post(mail.url, data=ONE_CLICK).status_code == 200
    assert mail.is_suppressed(mail.flow_id)
    assert not mail.is_suppressed()
    assert mail.unsubscribed() == 1


class TestThePage:
    def test_shows_what_holds_and_no_whole_address(self, anonymous: TestClient, database: Database) -> None:
        mail = Mail(database, topic="Offers <b>of</b> the week & more")
        database.run(lambda s: s.execute(update(Client).values(phone="+353870000000")))
        page = anonymous.get(mail.url).text
        assert "c***@example.com" in page
        assert "***0000" in page
        assert "client0@" not in page
        assert "Offers &lt;b&gt;of&lt;/b&gt; the week &amp; more" in page
        assert ticked(page) == {"email", "sms", str(mail.flow_id)}
        assert '<html lang="en">' in page

    def test_is_not_for_scripts_frames_or_caches(self, anonymous: TestClient, mail: Mail) -> None:
        headers = anonymous.get(mail.url).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")

    def test_a_topic_may_be_left_and_taken_again(self, anonymous: TestClient, database: Database) -> None:
        mail = Mail(database, topic="Offers")
        page = anonymous.post(mail.url, data={"action": "save", "channel": "email"}).text
        assert "Saved" in page
        assert ticked(page) == {"email"}
        assert mail.is_suppressed(mail.flow_id)
        assert not mail.is_suppressed()
        assert mail.unsubscribed() == 1
        wishes = {"action": "save", "channel": "email", "topic": str(mail.flow_id)}
        assert ticked(anonymous.post(mail.url, data=wishes).text) == {"email", str(mail.flow_id)}
        assert not mail.is_suppressed(mail.flow_id)

    def test_topics_are_those_of_flows_the_client_had_messages_of(
        self, anonymous: TestClient, database: Database
    ) -> None:
        mail = Mail(database, topic="Offers")
        database.run(lambda s: s.add(Flow(name="Never sent", topic="Secret plans", sender={})))
        page = anonymous.get(mail.url).text
        assert "Offers" in page
        assert "Secret plans" not in page

    def test_everything_ends_all_channels(self, anonymous: TestClient, database: Database) -> None:
        mail = Mail(database, topic="Offers")
        database.run(lambda s: s.execute(update(Client).values(phone="+353870000000")))
        page = anonymous.post(mail.url, data={"action": "nothing"}).text
        assert ticked(page) == set()
        assert mail.is_suppressed()
        assert mail.is_suppressed(channel=Channel.SMS)

    def test_who_comes_back_is_written_to_again_and_has_said_so(
        self, api: TestClient, database: Database
    ) -> None:
        mail = Mail(database)
        api.post(mail.url, data=ONE_CLICK)
        api.post(mail.url, data={"action": "save", "channel": ["email", "sms"]})
        assert not mail.is_suppressed()
        with database.reading() as s:
            client_id = s.scalars(select(Message.client_id).where(Message.id == mail.message_id)).one()
        said = api.get(f"/api/clients/{client_id}/consents").json()["items"]
        assert sorted(each["consent"] for each in said) == ["denied", "granted"]
        assert any("preference page" in each["source"] for each in said)

    @pytest.mark.parametrize(
        "reason", [SuppressionReason.BOUNCE, SuppressionReason.SPAM_REPORT, SuppressionReason.MANUAL]
    )
    def test_a_tick_lifts_nothing_that_the_owner_has_not_said(
        self, anonymous: TestClient, mail: Mail, reason: SuppressionReason
    ) -> None:
        change = SuppressionChange(Channel.EMAIL, "client0@example.com", reason, datetime.now(UTC), "test")
        mail.database.run(lambda s: apply_suppressions(s, [change]))
        page = anonymous.post(mail.url, data={"action": "save", "channel": ["email", "sms"]}).text
        assert "cannot be delivered" in page
        assert mail.is_suppressed()

    def test_saving_what_holds_already_changes_nothing(
        self, anonymous: TestClient, database: Database
    ) -> None:
        mail = Mail(database, topic="Offers")
        for _ in range(2):
            anonymous.post(
                mail.url, data={"action": "save", "channel": ["email", "sms"], "topic": str(mail.flow_id)}
            )
        with database.reading() as s:
            assert s.scalars(select(Unsubscribed)).all() == []
        assert mail.unsubscribed() == 0

    def test_odd_ticks_are_passed_over(self, anonymous: TestClient, database: Database) -> None:
        mail = Mail(database, topic="Offers")
        odd = {
            "action": "save",
            "channel": ["email", "fax", ""],
            "topic": ["x", "-1", "9" * 30, "²", str(mail.flow_id + 99)],
        }
        assert ticked(anonymous.post(mail.url, data=odd).text) == {"email"}

    def test_of_somebody_who_was_erased_nothing_is_shown(self, anonymous: TestClient, mail: Mail) -> None:
        mail.database.run(lambda s: s.execute(update(Message).values(address=None)))
        mail.database.run(lambda s: s.execute(Client.__table__.delete()))  # type: ignore[attr-defined]
        assert "***" not in anonymous.get(mail.url).text
        assert anonymous.post(mail.url, data=ONE_CLICK).status_code == 200


def ticked(page: str) -> set[str]:
    return set(re.findall(r'value="([^"]*)" checked', page))


def test_flows_say_what_their_link_ends_and_what_receivers_call_them(api: TestClient) -> None:
    made = api.post(
        "/api/flows", json={"name": "News", "topic": " Offers ", "unsubscribe_scope": "flow"}
    ).json()
    assert (made["topic"], made["unsubscribe_scope"]) == ("Offers", "flow")
    changed = api.patch(f"/api/flows/{made['id']}", json={"topic": None}).json()
    assert (changed["topic"], changed["unsubscribe_scope"]) == (None, "flow")
    for body in ({"topic": "a\nb"}, {"topic": ""}, {"topic": "x" * 101}, {"unsubscribe_scope": "all"}):
        assert api.post("/api/flows", json={"name": "Other", **body}).status_code == 422
