"""The fault suite passes on the engine as it is, and fails on one that is broken on purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SERVER_URL
from tests.faults.workers import PROJECT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not SERVER_URL, reason="NOT TESTED: needs a server, run `make test`, or set ICS_TEST_DATABASE_URL"
    ),
]
SEED = 20
LONGEST_SECONDS = 180.0


def run_suite(report: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and the report that was written."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--seed", str(SEED), "--json", str(report), *arguments],
        cwd=PROJECT,
        env={**os.environ, "ICS_TEST_DATABASE_URL": SERVER_URL},
        capture_output=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert report.exists(), (done.stdout + done.stderr).decode()[-3000:]
    return done.returncode, json.loads(report.read_text())


def only(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


def test_a_seeded_part_of_the_suite_passes(tmp_path: Path) -> None:
    chosen = only("crash_after_post", "commit_answer_lost", "unsubscribes")
    code, report = run_suite(tmp_path / "report.json", *chosen)
    assert code == 0, [each["violations"] for each in report["scenarios"]]
    totals = report["totals"]
    assert (totals["duplicates"], totals["lost"], totals["sent_after_unsubscribe"]) == (0, 0, 0)
    assert totals["scenarios"] == 3
    assert totals["resolved_by_evidence"] > 0
    assert totals["unsubscribed"] > 0


def test_an_engine_that_reclaims_sending_batches_is_caught(tmp_path: Path) -> None:
    """What most queues do, sending again after the lease, is what the ledger must never do."""
    code, report = run_suite(
        tmp_path / "report.json", "--sabotage", "reclaim-sending", *only("crash_after_post")
    )
    assert code != 0
    assert report["totals"]["duplicates"] > 0
    assert any("duplicates" in each for each in report["scenarios"][0]["violations"])


def test_an_engine_that_trusts_the_snapshot_is_caught(tmp_path: Path) -> None:
    """Suppressions have to be read again when `sending` is committed."""
    code, report = run_suite(
        tmp_path / "report.json", "--sabotage", "skip-suppressions", *only("unsubscribes")
    )
    assert code != 0
    assert report["totals"]["sent_after_unsubscribe"] > 0
    assert report["totals"]["duplicates"] == 0


def test_an_engine_that_hopes_for_the_best_is_caught(tmp_path: Path) -> None:
    """A batch whose sender died is not accepted until there is evidence of it."""
    code, report = run_suite(
        tmp_path / "report.json", "--sabotage", "assume-accepted", *only("crash_before_post")
    )
    assert code != 0
    assert report["totals"]["lost"] > 0
    assert report["totals"]["duplicates"] == 0
