"""Alert rules and their guide speak of metrics that exist."""

import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from db.engine import Database
from db.models import FailedJob, WebhookEvent
from db.states import WebhookProblem

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
METRIC = re.compile(r"\b(?:ics|process)_[a-z_]+\b")
LABELLED = re.compile(r"\b(ics_[a-z_]+)\{([^}]*)\}")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "deployments" / "prometheus" / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def samples(api: TestClient, database: Database) -> dict[str, list[dict[str, str]]]:
    """Labels of all samples by their names, with one of each that only shows when there is one."""
    event = WebhookEvent(
        fingerprint=b"f" * 32,
        delivery_id=1,
        source="sendgrid",
        problem=WebhookProblem.FAILED,
        reason="odd",
    )
    database.run(lambda s: s.add_all([FailedJob(kind="import", error="bad"), event]))
    api.get("/health")
    api.post("/webhooks/sendmode/reply", content=b"x")
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(api.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def test_every_alert_asks_for_metrics_and_labels_that_exist(api: TestClient, database: Database) -> None:
    there = samples(api, database)
    for rule in rules():
        assert {"alert", "expr", "for", "labels", "annotations"} == rule.keys()
        assert set(METRIC.findall(rule["expr"])) <= there.keys(), rule["alert"]
        for name, matchers in LABELLED.findall(rule["expr"]):
            exact = dict(re.findall(r'(\w+)="([^"]*)"', matchers))
            assert any(exact.items() <= labels.items() for labels in there[name]), (rule["alert"], name)


def test_the_guide_says_what_to_do_about_every_alert() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for name in names:
        assert f"### {name}" in GUIDE


def test_the_guide_names_every_metric_and_no_other(api: TestClient, database: Database) -> None:
    there = {name for name in samples(api, database) if name.startswith("ics_")}
    # A histogram is told by its name, its parts are not.
    there = {re.sub("_(bucket|sum|count)$", "", name) for name in there} | {"ics_webhook_bytes_total"}
    named = {name for name in METRIC.findall(GUIDE) if name.startswith("ics_")}
    assert named == there
