"""Views of a published page a second: one API process on one core, asked by wrk on the other."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Final

import httpx
from sqlalchemy import func, select

from benchmarks.feedback.api_process import api_process
from benchmarks.measured import Row
from benchmarks.peer_work import PeerMissing
from db.engine import Database
from db.models import PageCount
from db.queries.tokens import create_token

SECONDS: Final = 10
_CONNECTIONS: Final = 16
_SOURCE: Final = "# {{ page.title }}\n\n" + "All of **April** there are [offers](https://example.com). " * 60
_FORM: Final = {"consent_text": "Send me offers of the shop by email.", "from_email": "shop@example.com"}


def measure(database_url: str, database: Database, note: Callable[[Row], None]) -> None:
    """A page with a form, of some kilobytes."""
    token, _ = database.run(lambda s: create_token(s, "pages"))
    wide = {f"ICS_LIMIT_{name}": "100000000/minute" for name in ("ADDRESS", "TOKEN", "PAGES")}
    with api_process(database_url, "", core=0, more=wide) as (port, _):
        base = f"http://127.0.0.1:{port}"
        _publish(base, token)
        size = len(httpx.get(f"{base}/p/spring").raise_for_status().content)
        _wrk(f"{base}/p/spring", 2)
        note(_row("page views", f"{base}/p/spring", size))
        note(_row("bare answer of uvicorn (/health)", f"{base}/health", 0))
        note(_row("page views by a link with utm", f"{base}/p/spring?utm_source=letter", size))
    with database.reading() as session:
        views = session.scalar(select(func.sum(PageCount.views))) or 0
    note(Row("views counted", int(views), 1.0))


def page_verdicts(rows: list[Row]) -> Iterator[str]:
    by_name = {row.name: row for row in rows}
    ours, bare = by_name["page views"], by_name["bare answer of uvicorn (/health)"]
    yield f"views/s of a published page, one core: {ours.per_second:,.0f} (goal 1,500); p99 {ours.more['p99_ms']} ms"
    yield f"of a bare answer of the same process: {ours.per_second / bare.per_second:.2f}"


def _publish(base: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=base, headers=headers, timeout=20) as api:
        body = {"slug": "spring", "title": "Spring sale", "source": _SOURCE, "form": _FORM}
        page = api.post("/api/cms/pages", json=body).raise_for_status().json()
        api.post(f"/api/cms/pages/{page['id']}/publish").raise_for_status()


def _row(name: str, url: str, size: int) -> Row:
    text = _wrk(url, SECONDS)
    requests = int(_find(r"(\d+) requests in", text))
    if "Non-2xx" in text or requests == 0:
        raise SystemExit(f"{name}: not every answer was good\n{text}")
    return Row(name, requests, SECONDS, {"p99_ms": _milliseconds(text), "bytes": size})


def _wrk(url: str, seconds: int) -> str:
    binary = shutil.which("wrk")
    if binary is None:
        raise PeerMissing("no wrk was found: install it with the package manager")
    pin = ("taskset", "-c", "1") if shutil.which("taskset") else ()
    command = [*pin, binary, "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--latency", url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _milliseconds(text: str) -> float:
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return round(float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit], 1)


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "0"
