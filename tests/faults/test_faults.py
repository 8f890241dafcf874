"""The fault suite passes on the engine as it is, and fails on one that is broken on purpose."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SERVER_URL
from tests.faults.light_run import LightRun
from tests.faults.rig import Rig, open_rig
from tests.faults.run import Outcome
from tests.faults.sabotage import Sabotage
from tests.faults.scenarios import LIGHT
from tests.faults.workers import PROJECT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not SERVER_URL, reason="NOT TESTED: needs a server, run `make test`, or set ICS_TEST_DATABASE_URL"
    ),
]
SEED = 20
TRIES = 3
LONGEST_SECONDS = 180.0
in_one_process = pytest.mark.xdist_group("faults")
"""What shares the rig, which takes some seconds to start."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(SERVER_URL, tmp_path_factory.mktemp("faults"), seed=SEED) as opened:
        yield opened


def run(rig: Rig, name: str, way: Sabotage | None = None) -> Outcome:
    scenario = next(each for each in LIGHT if each.name == name)
    return LightRun(rig, scenario, seed=SEED, way=way).execute()


def run_until_it_fires(rig: Rig, name: str) -> Outcome:
    """On a busy machine the worker with the fault may find that the others have done all the work: that proves nothing,
    and is no failure of the engine."""
    for _ in range(TRIES - 1):
        outcome = run(rig, name)
        if not any(each.startswith("never fired") for each in outcome.violations):
            return outcome
    return run(rig, name)


@in_one_process
@pytest.mark.parametrize("name", ["crash_after_post", "commit_answer_lost"])
def test_a_seeded_part_of_the_suite_passes(rig: Rig, name: str) -> None:
    outcome = run_until_it_fires(rig, name)
    assert outcome.violations == []
    assert outcome.fired == outcome.injected
    found = outcome.findings
    assert (found.duplicates, found.lost, found.sent_after_unsubscribe) == (0, 0, 0)
    assert found.accepted + found.unknown == found.recipients


@in_one_process
def test_an_engine_that_trusts_the_snapshot_is_caught(rig: Rig) -> None:
    """Suppressions have to be read again when `sending` is committed."""
    found = run(rig, "unsubscribes", Sabotage.SKIP_SUPPRESSIONS).findings
    assert found.sent_after_unsubscribe > 0
    assert found.duplicates == 0
    assert found.violations


@in_one_process
def test_an_engine_that_hopes_for_the_best_is_caught(rig: Rig) -> None:
    """A batch whose sender died is not accepted until there is evidence of it."""
    found = run(rig, "crash_before_post", Sabotage.ASSUME_ACCEPTED).findings
    assert found.lost > 0
    assert found.duplicates == 0
    assert found.violations


def test_an_engine_that_reclaims_sending_batches_is_caught(tmp_path: Path) -> None:
    """What most queues do, sending again after the lease, is what the ledger must never do: the command fails."""
    path = tmp_path / "report.json"
    chosen = ("--sabotage", "reclaim-sending", "--only", "crash_after_post")
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--seed", str(SEED), "--json", str(path), *chosen],
        cwd=PROJECT,
        env={**os.environ, "ICS_TEST_DATABASE_URL": SERVER_URL},
        capture_output=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert path.exists(), (done.stdout + done.stderr).decode()[-3000:]
    report = json.loads(path.read_text())
    assert done.returncode == 1
    assert report["totals"]["duplicates"] > 0
    assert any(each.startswith("duplicates") for each in report["scenarios"][0]["violations"])
