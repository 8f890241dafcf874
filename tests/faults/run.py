"""An execution under faults, from its first worker to the checker's findings."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db.base import PREFIX
from db.states import InboxState
from tasks.feedback.apply import apply_waiting
from tests.faults.campaign import Opened
from tests.faults.checker import Findings, Question, check, count_taken
from tests.faults.rig import Rig

LONGEST_SECONDS: Final = 60.0
"""A campaign that is not over by then counts as stuck."""
EVIDENCE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.1


@dataclass
class Recovery:
    """A fault and what was being worked on when it struck: (batch, token). Over when all of that is decided, and
    something was accepted since, or nothing was left to be."""

    since: float
    held: set[tuple[int, int]]
    taken: int
    seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """One scenario's line of the report. `injected` and `fired` count faults by their names."""

    name: str
    seconds: float
    injected: Mapping[str, int]
    fired: Mapping[str, int]
    findings: Findings
    recoveries: Sequence[float]
    violations: Sequence[str]


class Run:
    """An execution, watched from outside: what is held, what was taken, and how long faults take to heal.

    `injected` and `fired` count faults by name, `doubt` adds up how many messages they may have left in doubt.
    """

    def __init__(self, rig: Rig, campaign: Opened) -> None:
        self.rig = rig
        self.campaign = campaign
        self.injected: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.doubt = 0
        self.state = "queued"
        self.taken = 0
        self.suppressed: dict[str, float] = {}
        self.problems: list[str] = []
        self._recoveries: list[Recovery] = []
        self._held: set[tuple[int, int]] = set()
        self._once_unknown: set[int] = set()
        self._lock = threading.RLock()
        self._started = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be sent, or nobody would."""
        return self.state not in ("queued", "preparing", "sending")

    def wait_for(self, taken: int) -> None:
        """Return when the provider has taken so many, or the campaign is over. Somebody else has to `look`."""
        while self.taken < taken and not self.is_over:
            time.sleep(POLL_SECONDS / 2)

    def strike(self, name: str, *, doubt: int) -> None:
        """A fault has just fired that may leave so many messages in doubt."""
        with self._lock:
            self.look()
            self.fired[name] += 1
            self.doubt += doubt
            self._recoveries.append(Recovery(time.monotonic(), set(self._held), self.taken))

    def look(self) -> None:
        """See how the execution stands. A database that is away leaves the last picture."""
        with self._lock, suppress(DBAPIError):
            self._read()
            self.taken = count_taken(self.rig.sandbox.journal, self.campaign.uid)
            for recovery in self._recoveries:
                if recovery.seconds is None and self._is_healed(recovery):
                    recovery.seconds = time.monotonic() - recovery.since

    def wait_for_evidence(self) -> None:
        """Until the sandbox has posted all events and all are applied; the inbox is swept as the scheduled flow does."""
        deadline = time.monotonic() + EVIDENCE_SECONDS
        while time.monotonic() < deadline:
            self.look()
            for state in (InboxState.RECEIVED, InboxState.FAILED):
                apply_waiting(self.rig.database, state=state)
            if not self.rig.sandbox.pending_events() and not self._count_unapplied():
                return
            time.sleep(POLL_SECONDS)
        self.problems.append("not all events were applied")

    def outcome(self, name: str, *, commits: Path | None = None) -> Outcome:
        """The line of the report. A scenario whose faults did not all fire has proved nothing, and says so."""
        findings = check(
            Question(
                database_url=self.rig.settings.database_url,
                table_prefix=PREFIX,
                journal=self.rig.sandbox.journal,
                execution_id=self.campaign.execution_id,
                intended=len(self.campaign.audience.addresses),
                bound=self.doubt,
                once_unknown=frozenset(self._once_unknown),
                suppressed=self.suppressed,
                commits=commits,
            )
        )
        silent = [fault for fault in self.injected if not self.fired[fault]]
        more = [f"never fired: {', '.join(silent)}"] if silent else []
        if any(recovery.seconds is None for recovery in self._recoveries):
            more.append("something was not recovered from")
        return Outcome(
            name=name,
            seconds=time.monotonic() - self._started,
            injected=dict(self.injected),
            fired={fault: count for fault, count in self.fired.items() if count},
            findings=findings,
            recoveries=[each.seconds for each in self._recoveries if each.seconds is not None],
            violations=[*findings.violations, *self.problems, *more],
        )

    def _read(self) -> None:
        values = {"id": self.campaign.execution_id}
        with self.rig.database.reading() as session:
            state = text(f"SELECT state FROM {PREFIX}flow_executions WHERE id = :id")
            held = text(
                f"SELECT id, token FROM {PREFIX}batches"
                " WHERE execution_id = :id AND state IN ('claimed', 'sending')"
            )
            unknown = text(
                f"SELECT id FROM {PREFIX}messages WHERE execution_id = :id AND special_state = 'unknown'"
            )
            self.state = session.execute(state, values).scalar_one()
            self._held = {(row[0], row[1]) for row in session.execute(held, values)}
            self._once_unknown |= set(session.scalars(unknown, values))

    def _is_healed(self, recovery: Recovery) -> bool:
        return not recovery.held & self._held and (self.taken > recovery.taken or self.is_over)

    def _count_unapplied(self) -> int:
        with self.rig.database.reading() as session:
            statement = text(f"SELECT count(*) FROM {PREFIX}webhook_deliveries WHERE state <> 'applied'")
            return int(session.execute(statement).scalar_one())
