"""`ics demo`: the main job on the embedded set-up, from a CSV to numbers that add up. Uses the real HTTP API."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from db.engine import get_database
from db.queries.tokens import create_token
from deployments.client import ApiClient, ApiError
from deployments.demo_data import DemoFacts, write_demo_csv
from deployments.import_command import Options, import_file
from deployments.local import local_stack
from deployments.watching import console, rows_of, watch_executions
from settings import Settings

EMAIL_SUBJECT = "{{ client.first_name | default: 'Hello' }}, something for you"
EMAIL_HTML = """<html><body>
<h1>Good day {{ client.first_name | default: 'to you' }}</h1>
<p>{% if client.custom.company %}Everyone at {{ client.custom.company }} is{% else %}You are{% endif %} invited
to <a href="https://shop.example.com/spring?c={{ client.custom.plan | default: 'all' | url_encode }}">our spring
sale</a>.</p>
<p>You get this at {{ client.email }}. <a href="{{ unsubscribe_url }}">Unsubscribe</a></p>
</body></html>"""
SMS_TEXT = "Hi {{ client.first_name | default: 'there' }}, our sale starts today. Reply STOP to opt out."
WEBHOOK_TIMEOUT_SECONDS = 90.0
SETTLE_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Check:
    """One thing that has to add up."""

    name: str
    expected: Any
    found: Any

    @property
    def is_met(self) -> bool:
        return bool(self.expected == self.found)


def run_demo(settings: Settings, *, csv: Path | None, clients: int, seed: int) -> int:
    """Run the demo; returns the exit code, 0 when everything adds up."""
    started = time.monotonic()
    with local_stack(settings, sandbox=True, seed=seed) as stack:
        token, _ = get_database().run(lambda session: create_token(session, f"demo {time.time():.0f}"))
        with ApiClient(stack.api_url, token) as client:
            checks = _run(stack.settings, client, csv, clients, seed)
            _print_links(stack.settings)
    failed = _print_checks(checks)
    console.print(f"{'FAILED' if failed else 'done'} in {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


def _run(settings: Settings, client: ApiClient, csv: Path | None, clients: int, seed: int) -> list[Check]:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    checks: list[Check] = []
    path = csv
    if path is None:
        path = settings.home / "demo" / "clients.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = write_demo_csv(path, clients=clients, seed=seed)
        console.print(f"generated {path} ({facts.rows:,} rows, with the dirt that exports have)")
    else:
        facts = None
    list_name = f"Demo {stamp}"
    if import_file(client, path, Options(list_name=list_name)) != 0:
        raise ApiError("the import did not complete")
    checks += _check_import(_last_import(client), facts)
    flows = _make_flows(client, _list_id(client, list_name), stamp)
    executions = [client.post(f"/api/flows/{flow['id']}/send") for flow in flows]
    watch_executions(client, [execution["id"] for execution in executions])
    _wait_for_webhooks(settings)
    for execution in executions:
        checks += _reconcile(settings, client, execution)
    return checks


def _last_import(client: ApiClient) -> dict[str, Any]:
    cursor: int | None = 0
    found: list[dict[str, Any]] = []
    while cursor is not None:
        page = client.get("/api/member-imports", limit=200, cursor=cursor)
        found, cursor = page["items"], page["next_cursor"]
    return found[-1]


def _check_import(report: dict[str, Any], facts: DemoFacts | None) -> list[Check]:
    """Every row is accounted for; of a generated file it is known how. (A second demo updates what the first made.)"""
    known = report["created"] + report["updated"]
    parts = known + report["duplicates"] + report["rejected"]
    checks = [Check("import: rows = created + updated + duplicates + rejected", report["total_rows"], parts)]
    if facts is not None:
        checks += [
            Check("import: every client of the file is there", facts.clients, known),
            Check("import: every useless row is rejected", facts.rejected, report["rejected"]),
        ]
    return checks


def _list_id(client: ApiClient, name: str) -> int:
    cursor = None
    while True:
        page = client.get("/api/client-lists", limit=200, **({"cursor": cursor} if cursor else {}))
        for item in page["items"]:
            if item["name"] == name:
                return int(item["id"])
        cursor = page["next_cursor"]
        if cursor is None:
            raise ApiError(f"the import made no list named {name}")


def _make_flows(client: ApiClient, list_id: int, stamp: str) -> list[dict[str, Any]]:
    email = client.post(
        "/api/templates",
        {"name": f"Sale email {stamp}", "channel": "email", "subject": EMAIL_SUBJECT, "html": EMAIL_HTML},
    )
    sms = client.post("/api/templates", {"name": f"Sale SMS {stamp}", "channel": "sms", "text": SMS_TEXT})
    senders = [
        ("Sale by email", email["id"], {"from_email": "news@shop.example.com", "from_name": "The Shop"}),
        ("Sale by SMS", sms["id"], {"sender_id": "TheShop"}),
    ]
    flows = []
    for name, template_id, sender in senders:
        flow = client.post(
            "/api/flows",
            {
                "name": f"{name} {stamp}",
                "client_list_id": list_id,
                "steps": [{"kind": "send", "template_id": template_id}],
                "sender": sender,
            },
        )
        flows.append(client.post(f"/api/flows/{flow['id']}/activate"))
    return flows


def _wait_for_webhooks(settings: Settings) -> None:
    """Until the sandbox has posted every event and got its 2xx."""
    deadline = time.monotonic() + WEBHOOK_TIMEOUT_SECONDS
    with console.status("waiting for the providers' webhooks") as status:
        while True:
            pending = _sandbox(settings, "/sandbox/outbox")["pending"]
            if not pending:
                return
            status.update(f"waiting for the providers' webhooks: {pending:,} events to come")
            if time.monotonic() > deadline:
                raise ApiError(f"{pending} events were not delivered in {WEBHOOK_TIMEOUT_SECONDS:.0f} s")
            time.sleep(0.3)


def _reconcile(settings: Settings, client: ApiClient, execution: dict[str, Any]) -> list[Check]:
    """Compare the ledger, its stats and the sandbox's journal."""
    key, uid = execution["id"], execution["uid"]
    stats = _settled_stats(client, key)
    journal = _sandbox(settings, f"/sandbox/journal?uid={uid}")
    counts = stats["messages"]
    ended = client.get(f"/api/flow-executions/{key}")
    state = ended["state"]
    _print_stats(ended, state, stats)
    parts = ("pending", "excluded", "sending", "accepted", "failed", "unknown", "cancelled")
    return [
        Check(f"execution {key} is completed", "completed", state),
        Check(
            f"execution {key}: intended = sum of all states",
            counts["intended"],
            sum(counts[p] for p in parts),
        ),
        Check(f"execution {key}: accepted = journal", counts["accepted"], journal["accepted"]),
        Check(f"execution {key}: nobody got two", 0, journal["duplicates"]),
        Check(f"execution {key}: stats = recount of the ledger", True, stats["is_equal_to_recount"]),
    ]


def _settled_stats(client: ApiClient, execution_id: int) -> dict[str, Any]:
    """Stats once the inbox is empty: a 2xx to the sandbox says that an event is stored, not yet that it is applied."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    while True:
        stats: dict[str, Any] = client.get(f"/api/flow-executions/{execution_id}/stats", verify=True)
        if not stats["webhooks_waiting"] or time.monotonic() > deadline:
            return stats
        time.sleep(0.3)


def _sandbox(settings: Settings, path: str) -> dict[str, Any]:
    response = httpx.get(f"http://127.0.0.1:{settings.sandbox_port}{path}", timeout=30.0, trust_env=False)
    response.raise_for_status()
    document: dict[str, Any] = response.json()
    return document


def _print_stats(execution: dict[str, Any], state: str, stats: dict[str, Any]) -> None:
    table = Table(title=f"{execution['flow_name']}: {state}", title_justify="left")
    table.add_column("")
    table.add_column("messages", justify="right")
    for name, value in rows_of(stats):
        table.add_row(name, f"{value:,}")
    console.print(table)
    if execution.get("prefect_url"):
        console.print(f"Prefect run: {execution['prefect_url']}", soft_wrap=True)


def _print_links(settings: Settings) -> None:
    console.print(f"API docs: http://{settings.api_host}:{settings.api_port}/docs")
    console.print(f"Prefect:  {settings.prefect_api_url.removesuffix('/api')}")
    console.print("(the servers of the demo stop now; `make up` starts them to stay)")


def _print_checks(checks: list[Check], out: Console = console) -> bool:
    for check in checks:
        if check.is_met:
            out.print(f"[green]ok[/green]   {check.name}")
        else:
            out.print(f"[red]FAIL[/red] {check.name}: expected {check.expected!r}, found {check.found!r}")
    return not checks or not all(check.is_met for check in checks)
