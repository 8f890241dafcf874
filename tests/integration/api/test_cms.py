"""Landing pages: written, published, found, signed up on; and nothing that an author or a visitor types runs or leaks."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from api.routers.public_pages import Maker
from db.dialect import utc_in
from db.engine import Database
from db.models import Page, PageRedirect, SignUp
from db.queries import cms_pages
from db.states import PageFormat
from settings import get_settings
from tasks.cms import serving
from tasks.cms.content import MAX_SOURCE, render_body, sanitise
from tasks.cms.serving import Pages
from tasks.cms.utm import Utm
from tasks.cms.views import ViewCounter
from tests.integration.api.answers import created, fields_of, problem_of, walk
from tests.integration.api.sites import FORM, publish, the

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


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
    "slug",
    ["", "A", "a b", "-a", "a-", "a--b", "../x", "a/b", "ä", "x" * 101, "preview/x", "preview", "confirm"],
)
def test_a_slug_is_plain(api: TestClient, slug: str) -> None:
    assert "body.slug" in fields_of(api.post("/api/cms/pages", json={"slug": slug, "title": "T"}))


def test_a_slug_that_was_seen_leads_on_though_nothing_was_seen_meanwhile(site: TestClient) -> None:
    path = f"/api/cms/pages/{publish(site)['id']}"
    site.post(f"{path}/unpublish")
    site.patch(path, json={"slug": "summer"})
    assert site.get("/p/spring").status_code == 404
    site.post(f"{path}/publish")
    assert site.get("/p/spring", follow_redirects=False).headers["Location"] == "/p/summer"


def test_a_page_that_has_a_slug_comes_before_one_that_had_it(site: TestClient, database: Database) -> None:
    first = publish(site)
    second = publish(site, slug="summer", title="Summer")
    database.run(lambda s: s.add(PageRedirect(slug="summer", page_id=first["id"])))
    shown = site.get("/p/summer", follow_redirects=False)
    assert (shown.status_code, "Summer" in shown.text) == (200, True)
    assert second["state"] == "published"


def test_a_page_that_gets_the_id_and_the_slug_of_another_is_not_taken_for_it(site: TestClient) -> None:
    gone = publish(site, source="# Secret")
    assert "Secret" in site.get("/p/spring").text
    site.delete(f"/api/cms/pages/{gone['id']}")
    publish(site, source="# Other")  # With the same id on SQLite.
    assert "Other" in site.get("/p/spring").text


def test_a_link_to_a_draft_shows_no_page_that_is_younger_than_the_link(
    site: TestClient, database: Database
) -> None:
    page = publish(site)
    link = urlsplit(site.post(f"/api/cms/pages/{page['id']}/preview-link").json()["url"]).path
    assert site.get(link).status_code == 200
    database.run(lambda s: s.execute(update(Page).values(created_at=utc_in(120))))
    assert site.get(link).status_code == 404


def test_what_was_stored_under_older_rules_is_named_when_it_is_changed(
    site: TestClient, database: Database
) -> None:
    page = publish(site)
    database.run(lambda s: s.execute(update(Page).values(slug="preview")))
    path = f"/api/cms/pages/{page['id']}"
    assert "body.slug" in fields_of(site.patch(path, json={"title": "Other"}))
    assert site.patch(path, json={"title": "Other", "slug": "spring"}).status_code == 200


def test_a_page_that_grows_when_it_is_made_safe_has_a_largest_size(api: TestClient) -> None:
    # A quarter of what is written, five times as long once each sign is safe.
    source = "<p>" + "&" * (MAX_SOURCE // 4) + "</p>"
    answer = api.post("/api/cms/pages", json={"slug": "x", "title": "X", "format": "html", "source": source})
    assert "once it is safe" in fields_of(answer)["body.source"]


@pytest.mark.parametrize("query", ["until=0001-01-05", "since=0001-01-01&until=0001-01-31"])
def test_statistics_begin_somewhere(site: TestClient, query: str) -> None:
    page = publish(site)
    assert site.get(f"/api/cms/pages/{page['id']}/statistics?{query}").status_code == 422


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_moment_outside_of_all_calendars_is_named(site: TestClient, at: str) -> None:
    page = publish(site)
    answer = site.post(f"/api/cms/pages/{page['id']}/publish", json={"at": at})
    assert "body.at" in fields_of(answer)


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


def test_a_file_name_in_an_odd_charset_is_no_error_of_ours(api: TestClient) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="+2AA-.txt"\r\n\r\nhello\r\n--x--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x; charset=utf-7"}
    answer = api.post("/api/cms/assets", content=body, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["title"] == ".txt"


def test_a_file_has_a_largest_size(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICS_MAX_ASSET_BYTES", "1024")
    get_settings.cache_clear()
    problem_of(upload(api, "a.png", PNG + bytes(2000)), 413)


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


@pytest.mark.parametrize("path", ["/p/confirm/x", "/p/preview/x", "/p/nothing/thank-you", "/unsubscribe/x"])
def test_who_follows_a_broken_link_reads_a_page_and_programs_a_problem(site: TestClient, path: str) -> None:
    answer = site.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "This link does not work" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    problem_of(site.get(path), 404)


def test_an_error_of_ours_is_a_page_for_people_and_a_problem_for_programs(
    site: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("ada@example.com")

    monkeypatch.setattr(cms_pages, "find_live", broken)
    answer = site.get("/p/spring/thank-you", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "went wrong on our side" in answer.text
    assert "ada@" not in answer.text
    problem_of(site.get("/p/spring/thank-you"), 500)


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
