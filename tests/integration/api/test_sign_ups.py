"""Sign-ups on pages: a form, a mail, and a click by the owner of the address; what a visitor types changes nothing before."""

import re
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from db.dialect import utc_in
from db.engine import Database
from db.errors import NotFound
from db.models import Client, ClientListMember, ConsentChange, SignUp, Unsubscribed
from db.queries.sign_ups import forget_sign_ups
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, Consent, MailState, SignUpState, SuppressionReason
from settings import get_settings
from tasks.cms.forms import Typed
from tasks.cms.links import confirm_token
from tasks.cms.sign_ups import expire_old, send_confirmations, sign_up
from tasks.cms.utm import Utm
from tasks.providers.outcomes import Accepted, NotTaken, Unknown
from tasks.signing import secret_key
from tests.integration.api.answers import created, fields_of, problem_of
from tests.integration.api.sites import FORM, Post, confirm_path, fill_in, publish, the


@pytest.mark.parametrize("charset", ["utf-7", "undefined", "unicode_escape"])
def test_a_form_in_an_odd_charset_is_no_error_of_ours(site: TestClient, charset: str) -> None:
    publish(site, form=FORM)
    value = {"utf-7": "+2AA-", "undefined": "x", "unicode_escape": "\\ud800"}[charset]
    body = f'--x\r\nContent-Disposition: form-data; name="email"\r\n\r\n{value}\r\n--x--\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    assert site.post("/p/spring/sign-up", content=body.encode(), headers=headers).status_code == 422


def test_a_name_too_long_for_a_client_is_cut(site: TestClient, database: Database) -> None:
    publish(site, form=FORM | {"fields": [{"name": "first_name", "label": "First name"}]})
    fill_in(site, first_name="x" * 300)
    assert the(database, SignUp).given == {"first_name": "x" * 100}


def test_who_signs_up_becomes_a_client_with_one_click_in_a_mail(
    site: TestClient, database: Database, post: Post
) -> None:
    vips = created(site, "/api/client-lists", name="VIP", kind="static")["id"]
    page = publish(site, form=FORM | {"client_list_id": vips})
    answer = fill_in(site, first_name="Ada", utm_source="letter", utm_campaign="may")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/p/spring/thank-you")
    assert "mailbox" in site.get("/p/spring/thank-you").text
    assert the(database, Client) is None
    (body,) = post.bodies
    assert b"ada@example.com" in body
    path = re.search(rb"(/p/confirm/[0-9a-f.-]+)", body)
    assert path is not None
    link = path[1].decode()
    # A scanner opens the link: nothing happens.
    assert "<button>" in site.get(link).text
    assert the(database, Client) is None
    for _ in range(2):
        assert "signed up" in site.post(link, headers={"Authorization": ""}).text
    client = the(database, Client)
    assert (client.email, client.first_name, client.email_consent) == (
        "ada@example.com",
        "Ada",
        Consent.GRANTED,
    )
    logged = the(database, ConsentChange)
    assert (logged.source, logged.wording) == ("sign-up form", FORM["consent_text"])
    assert the(database, ClientListMember).client_id == client.id
    row = the(database, SignUp)
    assert (row.state, row.email, row.given, row.client_id) == (SignUpState.CONFIRMED, None, {}, client.id)
    counts = site.get(f"/api/cms/pages/{page['id']}/statistics").json()
    assert (counts["sign_ups"], counts["conversions"]) == (1, 1)
    (origin,) = counts["origins"]
    assert (origin["source"], origin["campaign"], origin["conversions"]) == ("letter", "may", 1)


def test_a_visitor_changes_nothing_that_is_known_of_somebody(
    site: TestClient, database: Database, post: Post
) -> None:
    created(site, "/api/clients", email="ada@example.com", first_name="Ada", email_consent="denied")
    publish(site, form=FORM | {"fields": [*FORM["fields"], {"name": "last_name", "label": "Name"}]})
    first = fill_in(site, first_name="Mallory", last_name="Byron")
    unknown = fill_in(site, email="eve@example.com")
    assert (first.status_code, first.headers["Location"]) == (
        unknown.status_code,
        unknown.headers["Location"],
    )
    with database.reading() as s:
        sign_up = s.scalars(select(SignUp).order_by(SignUp.id)).first()
        assert sign_up is not None
        link = f"/p/confirm/{confirm_token(secret_key(get_settings()), sign_up.id)}"
    site.post(link)
    client = the(database, Client)
    assert (client.first_name, client.last_name, client.email_consent) == ("Ada", "Byron", Consent.GRANTED)


def test_programs_that_fill_in_everything_get_nothing(
    site: TestClient, database: Database, post: Post
) -> None:
    publish(site, form=FORM)
    assert fill_in(site, website="https://spam.example").status_code == 303
    assert the(database, SignUp) is None


def test_nobodys_mailbox_is_filled_by_somebody_elses_typing(site: TestClient, post: Post) -> None:
    publish(site, form=FORM)
    answers = [fill_in(site) for _ in range(6)]
    assert {answer.status_code for answer in answers} == {303}
    assert len(post.bodies) == 3


@pytest.mark.parametrize(
    "written",
    [
        [
            "ada@example.com",
            "Ada+1@example.com",
            "ada+2@EXAMPLE.com",
            "ada+3+4@example.com",
            "ada+@example.com",
        ],
        ["a.da@gmail.com", "ada+x@gmail.com", "ad.a@googlemail.com", "ada@gmail.com", "a.d.a@gmail.com"],
    ],
)
def test_a_mailbox_is_one_however_its_address_is_written(
    site: TestClient, post: Post, written: list[str]
) -> None:
    publish(site, form=FORM)
    for email in written:
        assert fill_in(site, email=email).status_code == 303
    assert len(post.bodies) == 3
    assert fill_in(site, email="bob@example.com").status_code == 303
    assert len(post.bodies) == 4


def test_a_form_that_was_open_while_its_page_was_renamed_is_taken(
    site: TestClient, database: Database, post: Post
) -> None:
    page = publish(site, form=FORM)
    site.patch(f"/api/cms/pages/{page['id']}", json={"slug": "summer"})
    answer = fill_in(site, "spring")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/p/summer/thank-you")
    assert the(database, SignUp).page_id == page["id"]
    assert site.get("/p/spring/thank-you").status_code == 200


def test_a_page_that_goes_while_its_form_is_sent_is_no_error_of_ours(
    site: TestClient, database: Database, post: Post
) -> None:
    gone = publish(site, form=FORM)
    typed = Typed("ada@example.com", {}, {})
    site.delete(f"/api/cms/pages/{gone['id']}")
    with pytest.raises(NotFound):
        sign_up(
            database,
            get_settings(),
            page_id=gone["id"],
            version=1,
            typed=typed,
            utm=Utm(),
            address="127.0.0.1",
        )
    assert the(database, SignUp) is None


def test_what_waits_for_a_page_that_is_deleted_is_no_other_pages(
    site: TestClient, database: Database, post: Post
) -> None:
    gone = publish(site, form=FORM)
    fill_in(site)
    link = confirm_path(database)
    site.delete(f"/api/cms/pages/{gone['id']}")
    # SQLite gives the same id to the next page.
    other = publish(site, form=FORM | {"consent_text": "Something else altogether."})
    assert site.post(link).status_code == 404
    assert site.get(f"/api/cms/pages/{other['id']}/sign-ups").json()["items"] == []
    row = the(database, SignUp)
    assert (row.page_id, row.state, row.email) == (0, SignUpState.EXPIRED, None)


@pytest.mark.parametrize("is_unsubscribed", [False, True])
def test_who_agreed_before_and_confirms_leaves_evidence_of_it(
    site: TestClient, database: Database, post: Post, is_unsubscribed: bool
) -> None:
    created(site, "/api/clients", email="ada@example.com", email_consent="granted")
    if is_unsubscribed:
        said = SuppressionChange(
            Channel.EMAIL, "ada@example.com", SuppressionReason.ONE_CLICK, datetime.now(UTC), "test"
        )
        database.run(lambda s: apply_suppressions(s, [said]))
    publish(site, form=FORM)
    fill_in(site)
    for _ in range(2):
        site.post(confirm_path(database))
    with database.reading() as s:
        logged = s.scalars(select(ConsentChange).where(ConsentChange.source == "sign-up form")).all()
    assert [(each.consent, each.wording) for each in logged] == [(Consent.GRANTED, FORM["consent_text"])]


def test_a_field_that_a_form_asks_for_is_not_deleted(site: TestClient) -> None:
    created(site, "/api/custom-fields", key="size", label="Size", kind="text")
    asking = FORM | {"fields": [{"name": "custom.size", "label": "Your size"}]}
    page = publish(site, form=asking)
    path = f"/api/cms/pages/{page['id']}"
    for refused in (
        site.delete("/api/custom-fields/size"),
        site.patch("/api/custom-fields/size", json={"kind": "number"}),
    ):
        assert "'spring'" in problem_of(refused, 409)["detail"]
    site.patch(path, json={"form": FORM})
    # What visitors see still asks for it.
    problem_of(site.delete("/api/custom-fields/size"), 409)
    site.post(f"{path}/publish")
    assert site.delete("/api/custom-fields/size").status_code == 204


@pytest.mark.parametrize("reason", [SuppressionReason.BOUNCE, SuppressionReason.SPAM_REPORT])
def test_no_mail_goes_to_an_address_that_must_not_be_written_to(
    site: TestClient, database: Database, post: Post, reason: SuppressionReason
) -> None:
    change = SuppressionChange(Channel.EMAIL, "ada@example.com", reason, datetime.now(UTC), "test")
    database.run(lambda s: apply_suppressions(s, [change]))
    publish(site, form=FORM)
    assert fill_in(site).status_code == 303
    assert (post.bodies, the(database, SignUp).mail) == ([], MailState.HELD)


def test_who_unsubscribed_and_confirms_again_is_written_to_again(
    site: TestClient, database: Database, post: Post
) -> None:
    said = SuppressionChange(
        Channel.EMAIL, "ada@example.com", SuppressionReason.ONE_CLICK, datetime.now(UTC), "test"
    )
    database.run(lambda s: apply_suppressions(s, [said]))
    publish(site, form=FORM)
    fill_in(site)
    assert the(database, Unsubscribed).active is True
    site.post(confirm_path(database))
    assert the(database, Unsubscribed).active is False


def test_a_mail_that_may_have_gone_out_is_not_sent_again_and_one_that_has_not_is(
    site: TestClient, database: Database, post: Post
) -> None:
    publish(site, form=FORM)
    post.outcome = NotTaken("no connection")
    fill_in(site)
    assert the(database, SignUp).mail is MailState.QUEUED
    assert send_confirmations(database, get_settings()) == 0
    assert len(post.bodies) == 1
    database.run(lambda s: s.execute(update(SignUp).values(due_at=utc_in(-1))))
    post.outcome = Unknown("reset")
    send_confirmations(database, get_settings())
    assert the(database, SignUp).mail is MailState.SENDING
    database.run(lambda s: s.execute(update(SignUp).values(due_at=utc_in(-9999))))
    assert send_confirmations(database, get_settings()) == 0
    assert len(post.bodies) == 2


def test_a_mail_waits_for_a_provider_that_is_away_for_hours(
    site: TestClient, database: Database, post: Post
) -> None:
    publish(site, form=FORM)
    post.outcome = NotTaken("no connection")
    fill_in(site)
    pauses = []
    for _ in range(12):
        row = the(database, SignUp)
        assert row.mail is MailState.QUEUED
        pauses.append((row.due_at - row.tried_at).total_seconds())
        database.run(lambda s: s.execute(update(SignUp).values(due_at=utc_in(-1))))
        send_confirmations(database, get_settings())
    assert [round(each) for each in pauses[:7]] == [60, 120, 240, 480, 960, 1920, 3600]
    assert {round(each) for each in pauses[7:]} == {3600}
    post.outcome = Accepted("x")
    database.run(lambda s: s.execute(update(SignUp).values(due_at=utc_in(-1))))
    assert send_confirmations(database, get_settings()) == 1
    assert the(database, SignUp).mail is MailState.SENT


def test_a_mail_waits_as_long_as_the_provider_asks_for_and_not_for_ever(
    site: TestClient, database: Database, post: Post
) -> None:
    publish(site, form=FORM)
    post.outcome = NotTaken("429", retry_after=600)
    fill_in(site)
    row = the(database, SignUp)
    assert round((row.due_at - row.tried_at).total_seconds()) == 600
    values = {"due_at": utc_in(-1), "created_at": utc_in(-25 * 3600)}
    database.run(lambda s: s.execute(update(SignUp).values(values)))
    send_confirmations(database, get_settings())
    assert the(database, SignUp).mail is MailState.FAILED


def test_what_is_forgotten_is_not_mailed(site: TestClient, database: Database, post: Post) -> None:
    publish(site, form=FORM)
    post.outcome = NotTaken("no connection")
    fill_in(site)
    database.run(lambda s: forget_sign_ups(s, ["ada@example.com"]))
    row = the(database, SignUp)
    assert (row.mail, row.email, row.mailbox) == (MailState.HELD, None, None)


def test_what_nobody_confirms_is_forgotten(site: TestClient, database: Database, post: Post) -> None:
    publish(site, form=FORM)
    fill_in(site, first_name="Ada")
    link = confirm_path(database)
    database.run(lambda s: s.execute(update(SignUp).values(created_at=utc_in(-8 * 86400))))
    assert expire_old(database) == 1
    row = the(database, SignUp)
    assert (row.state, row.email, row.given) == (SignUpState.EXPIRED, None, {})
    assert site.post(link).status_code == 404
    assert the(database, Client) is None


def test_a_link_that_is_not_ours_confirms_nothing(site: TestClient, database: Database, post: Post) -> None:
    publish(site, form=FORM)
    fill_in(site)
    link = confirm_path(database)
    for forged in (
        link[:-1] + ("0" if link[-1] != "0" else "1"),
        "/p/confirm/1-0-9999999999." + "0" * 32,
        "/p/confirm/x",
    ):
        assert site.post(forged).status_code == 404
    assert the(database, Client) is None


def test_a_form_asks_only_for_what_there_is(api: TestClient) -> None:
    created(api, "/api/custom-fields", key="age", label="Age", kind="number")
    for name, words in (("custom.nothing", "no custom field"), ("custom.age", "no text")):
        body = {"slug": "x", "title": "X", "form": FORM | {"fields": [{"name": name, "label": "L"}]}}
        assert words in fields_of(api.post("/api/cms/pages", json=body))["body.form.fields.0.name"]
    problem_of(
        api.post("/api/cms/pages", json={"slug": "x", "title": "X", "form": FORM | {"client_list_id": 99}}),
        404,
    )


def test_a_person_gets_what_was_typed_with_his_address_and_it_is_erased_with_him(
    site: TestClient, database: Database, post: Post
) -> None:
    client_id = created(site, "/api/clients", email="ada@example.com")["id"]
    publish(site, form=FORM)
    fill_in(site, first_name="Ada")
    (row,) = site.get(f"/api/clients/{client_id}/export").json()["sign_ups"]
    assert (row["email"], row["given"]) == ("ada@example.com", {"first_name": "Ada"})
    link = confirm_path(database)
    erased = site.post(f"/api/clients/{client_id}/erase", json={"confirm": "ada@example.com"})
    assert erased.status_code == 200, erased.text
    left = the(database, SignUp)
    assert (left.state, left.email, left.given) == (SignUpState.EXPIRED, None, {})
    assert site.post(link).status_code == 404
    assert the(database, Client) is None
