"""In a real browser nothing runs that an author or a visitor has put on a page.

A script that ran would write into the document (`ran`), which is read from the DOM that Chromium dumps. The control page shows that the
same check sees a script where nothing holds it back.
"""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, update

from api.app import create_app
from db.engine import Database
from db.models import Asset, PageVersion
from deployments.test_database import BROWSERS
from tests.integration.api.running import RunningApi

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
MARK = "document.documentElement.setAttribute('data-ran','yes')"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{MARK}"><script>{MARK}</script></svg>'
HTML = f"<html><body><script>{MARK}</script></body></html>"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
ATTACKS = (
    f"<script>{MARK}</script>",
    f'<img src="/nothing" onerror="{MARK}">',
    f'<svg onload="{MARK}"></svg>',
    f'<iframe srcdoc="<script>parent.{MARK}</script>"></iframe>',
    f'<details open ontoggle="{MARK}"><summary>x</summary></details>',
    f'<style onload="{MARK}"></style>',
    f'<noscript><p title="</noscript><img src=x onerror={MARK}>">',
    f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={MARK}&gt;">',
)


@pytest.fixture(scope="module")
def browser() -> str:
    if CHROMIUM is None:
        pytest.skip("NOT TESTED: install chromium to see pages in a browser")
    return CHROMIUM


@pytest.fixture
def running(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApi]:
    if engine.dialect.name != "sqlite":
        pytest.skip("a browser sees no difference between databases")
    monkeypatch.setenv("ICS_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    running = RunningApi(create_app(), Database(engine))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def control() -> Iterator[str]:
    """A server without any protection."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = ("image/svg+xml", SVG) if self.path.endswith(".svg") else ("text/html", HTML)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def dom_of(browser: str, url: str, profile: Path, *, patience: float = 90.0) -> str:
    """The document as it is after its scripts, if it has any; empty when there is none, as for a file that is downloaded."""
    command = [
        *(
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ),
        *(f"--user-data-dir={profile}", "--virtual-time-budget=2000", "--dump-dom", url),
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""


def publish(running: RunningApi, slug: str, source: str, kind: str = "html") -> int:
    with httpx.Client(base_url=running.url, headers=running.headers, timeout=20) as api:
        made = api.post(
            "/api/cms/pages", json={"slug": slug, "title": "Page", "format": kind, "source": source}
        )
        assert made.status_code == 201, made.text
        page_id: int = made.json()["id"]
        assert api.post(f"/api/cms/pages/{page_id}/publish").status_code == 200
    return page_id


def test_the_check_sees_a_script_that_runs(browser: str, control: str, tmp_path: Path) -> None:
    assert 'data-ran="yes"' in dom_of(browser, f"{control}/page", tmp_path / "a")
    assert 'data-ran="yes"' in dom_of(browser, f"{control}/picture.svg", tmp_path / "b")


@pytest.mark.parametrize("kind", ["html", "markdown"])
def test_nothing_on_a_page_runs(browser: str, running: RunningApi, tmp_path: Path, kind: str) -> None:
    publish(running, "attack", "still here\n\n" + "\n\n".join(ATTACKS), kind)
    shown = dom_of(browser, f"{running.url}/p/attack", tmp_path / "profile")
    assert "still here" in shown
    assert 'data-ran="yes"' not in shown


def test_nothing_runs_even_if_the_sanitiser_let_it_pass(
    browser: str, running: RunningApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second line: the policy in the headers."""
    monkeypatch.setattr("tasks.cms.content.nh3.clean", lambda html, **_: html)
    publish(running, "through", "".join(ATTACKS) + "<p>still here</p>")
    shown = dom_of(browser, f"{running.url}/p/through", tmp_path / "profile")
    assert "still here" in shown
    assert "<script>" in shown
    assert 'data-ran="yes"' not in shown


def test_a_picture_that_holds_a_script_runs_nothing(
    browser: str, running: RunningApi, tmp_path: Path
) -> None:
    with httpx.Client(base_url=running.url, headers=running.headers, timeout=20) as api:
        svg = api.post("/api/cms/assets", files={"file": ("a.svg", SVG.encode())}).json()
        png = api.post("/api/cms/assets", files={"file": ("a.png", PNG)}).json()
    # An image that is HTML is refused; here it got into the database all the same.
    running.database.run(
        lambda s: s.execute(update(Asset).where(Asset.id == png["id"]).values(content=HTML.encode()))
    )
    for asset in (svg, png):
        shown = dom_of(
            browser, f"{running.url}/assets/{asset['name']}", tmp_path / asset["name"], patience=15
        )
        assert 'data-ran="yes"' not in shown
    embedded = "".join(f'<img src="/assets/{asset["name"]}">' for asset in (svg, png))
    publish(running, "pictures", f"{embedded}<p>still here</p>")
    shown = dom_of(browser, f"{running.url}/p/pictures", tmp_path / "page")
    assert "still here" in shown
    assert 'data-ran="yes"' not in shown


def test_what_was_changed_behind_our_back_does_not_run(
    browser: str, running: RunningApi, tmp_path: Path
) -> None:
    publish(running, "changed", "<p>still here</p>")
    evil = f"<script>{MARK}</script><p>still here</p>".encode()
    running.database.run(lambda s: s.execute(update(PageVersion).values(source=evil, html=evil)))
    shown = dom_of(browser, f"{running.url}/p/changed", tmp_path / "profile")
    assert "still here" in shown
    assert 'data-ran="yes"' not in shown
