"""One scenario from its first worker to the checker's findings."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from db.base import PREFIX
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import InboxState, SuppressionReason
from tasks.feedback.apply import apply_waiting
from tests.faults import hooks, sabotage
from tests.faults.campaign import Opened, open_campaign
from tests.faults.checker import Findings, Question, check, count_taken
from tests.faults.hooks import database_clock
from tests.faults.proxy import Cut, Proxy
from tests.faults.rig import Rig
from tests.faults.workers import Worker, Workers

if TYPE_CHECKING:
    from tests.faults.scenarios import Scenario

LONGEST_SECONDS: Final = 60.0
"""A campaign that is not over by then counts as stuck."""
EVIDENCE_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_RESTART_SECONDS: Final = 0.3
# What leaves the client without a readable answer, so that it cannot know: the messages of the request become unknown.
UNCERTAIN: Final = frozenset(
    {
        *("500_before", "500_after_accept", "reset_before", "reset_after_accept"),
        *("hang", "truncated", "garbled", "slow_drip"),
    }
)


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


@dataclass
class Observed:
    """An execution that is watched from outside: what is held, what was taken, and how long faults take to heal."""

    rig: Rig
    campaign: Opened
    injected: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    recoveries: list[Recovery] = field(default_factory=list)
    doubt: int = 0
    state: str = "queued"
    taken: int = 0
    _held: set[tuple[int, int]] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def strike(self, name: str, *, doubt: int) -> None:
        """A fault has just fired that may leave so many messages in doubt."""
        with self._lock:
            self.look()
            self.fired[name] += 1
            self.doubt += doubt
            self.recoveries.append(Recovery(time.monotonic(), set(self._held), self.taken))

    def look(self) -> None:
        """See how the execution stands. A database that is away leaves the last picture."""
        with self._lock, suppress(DBAPIError):
            with self.rig.database.reading() as session:
                statement = text(f"SELECT state FROM {PREFIX}flow_executions WHERE id = :id")
                values = {"id": self.campaign.execution_id}
                self.state = session.execute(statement, values).scalar_one()
                held = text(
                    f"SELECT id, token FROM {PREFIX}batches"
                    " WHERE execution_id = :id AND state IN ('claimed', 'sending')"
                )
                self._held = {(row[0], row[1]) for row in session.execute(held, values)}
            self.taken = count_taken(self.rig.sandbox.journal, self.campaign.uid)
            for recovery in self.recoveries:
                if recovery.seconds is None and self._is_over(recovery):
                    recovery.seconds = time.monotonic() - recovery.since

    @property
    def is_over(self) -> bool:
        return self.state not in ("queued", "preparing", "sending")

    def _is_over(self, recovery: Recovery) -> bool:
        return not recovery.held & self._held and (self.taken > recovery.taken or self.is_over)


class Run(Observed):
    """A scenario with light workers. Its injector runs beside it, in a thread of its own."""

    def __init__(
        self, rig: Rig, scenario: "Scenario", *, seed: int, way: sabotage.Sabotage | None = None
    ) -> None:
        first, rig.clients = rig.clients, rig.clients + scenario.clients
        campaign = open_campaign(
            rig.database,
            f"{scenario.name} {first}",
            channel=scenario.channel,
            clients=scenario.clients,
            first=first,
        )
        super().__init__(rig, campaign)
        self.scenario = scenario
        self.chance = Random(f"{seed}/{scenario.name}")
        self.suppressed: dict[str, float] = {}
        self.problems: list[str] = []
        self.proxy: Proxy | None = None
        self.earlier: Opened | None = None
        self._way = way
        self._cuts_seen = 0
        self._sleepers: dict[int, float] = {}
        self._before: Mapping[str, int] = {}
        self.workers = self._make_workers()

    def send_undisturbed(self, campaign: Opened) -> None:
        """Send one of the rig's campaigns to its end before this scenario begins."""
        worker = Workers(campaign.execution_id, self.rig.environment, self.rig.home / "logs").start()
        worker.process.wait(LONGEST_SECONDS)
        self.workers = self._make_workers()

    @property
    def provider(self) -> str:
        return "sendgrid" if self.scenario.channel == "email" else "sendmode"

    @property
    def in_flight(self) -> int:
        """Messages that one process can have in doubt at once."""
        return self.scenario.lanes * self.scenario.batch

    def execute(self) -> Outcome:
        """Run to the end, whatever comes."""
        started = time.monotonic()
        try:
            self.rig.sandbox.clear()
            self._before = self.rig.sandbox.fired()
            if self.scenario.before:
                self.scenario.before(self)
            if self.scenario.latency:
                self.slow_down(self.scenario.latency)
            self._drive()
        finally:
            self.workers.stop()
            if self.proxy is not None:
                self.proxy.close()
        self._count_provider_faults()
        self.rig.sandbox.clear()
        self._wait_for_evidence()
        return self._outcome(time.monotonic() - started)

    def wait_for(self, taken: int) -> None:
        """Return when the provider has taken so many, or the campaign is over."""
        while self.taken < taken and not self.is_over:
            time.sleep(_POLL_SECONDS / 2)

    def provider_fault(
        self, kind: str, *, count: int, probability: float = 1.0, seconds: float = 1.0
    ) -> None:
        self.injected[kind] += count
        self.rig.sandbox.fail(
            self.provider, kind, count=count, probability=probability, seconds=seconds
        )

    def slow_down(self, seconds: float) -> None:
        """Every other answer takes so long: without it a campaign is over before anything can happen to it."""
        self.rig.sandbox.fail(self.provider, "latency", count=1_000_000, seconds=seconds)

    def suppress(self, address: str) -> None:
        """Suppress it, as its owner would, and keep the moment."""
        change = SuppressionChange(
            self.scenario.channel,
            address,
            SuppressionReason.UNSUBSCRIBE,
            datetime.now(UTC),
            source="fault suite",
        )
        self.rig.database.run(lambda s: apply_suppressions(s, [change]))
        self.note_suppressed(address)

    def note_suppressed(self, address: str) -> None:
        """Its suppression is committed: keep the database's clock."""
        with self.rig.database.reading() as session:
            self.suppressed[address] = database_clock(session)
        self.fired["unsubscribe"] += 1

    def kill(self, worker: Worker) -> None:
        """SIGKILL; counted when its end is seen."""
        self.injected["worker killed"] += 1
        self.workers.kill(worker)

    def _make_workers(self) -> Workers:
        scenario = self.scenario
        environment = {
            **self.rig.environment,
            "ICS_EMAIL_BATCH_SIZE": str(scenario.batch),
            "ICS_SMS_BATCH_SIZE": str(scenario.batch),
            "ICS_SMS_CONCURRENCY": "4",
            "ICS_SEND_LANES": str(scenario.lanes),
            hooks.COMMITS: "",
        }
        if scenario.clock:
            environment["ICS_FAULT_CLOCK"] = str(scenario.clock)
        if self._way is not None:
            environment[sabotage.VARIABLE] = self._way.value
        if scenario.is_proxied:
            url = make_url(self.rig.settings.database_url)
            self.proxy = Proxy(url.host or "127.0.0.1", url.port or 3306)
            through = url.set(host="127.0.0.1", port=self.proxy.port)
            environment["ICS_DATABASE_URL"] = through.render_as_string(hide_password=False)
        return Workers(self.campaign.execution_id, environment, self.rig.home / "logs")

    @property
    def _commits(self) -> Path:
        return self.rig.home / "commits" / str(self.campaign.execution_id)

    def _start(self, **more: str) -> Worker:
        self._commits.mkdir(parents=True, exist_ok=True)
        path = self._commits / f"{time.monotonic_ns()}.jsonl"
        return self.workers.start(**{hooks.COMMITS: str(path), **more})

    def _drive(self) -> None:
        """Be the dispatcher: start workers while the execution is not over, in place of those that died."""
        for number in range(self.scenario.workers):
            self._start(**self._plan_of(number))
        injector = threading.Thread(target=self._inject, daemon=True)
        injector.start()
        deadline = time.monotonic() + LONGEST_SECONDS
        start_at: list[float] = []
        while True:
            self.look()
            for worker in self.workers.reap():
                self._ended(worker)
                start_at.append(time.monotonic() + _RESTART_SECONDS)
            self._wake_sleepers()
            self._see_cuts()
            now = time.monotonic()
            if self.is_over and not self.workers.alive:
                break
            if now > deadline:
                self.problems.append(f"not over after {LONGEST_SECONDS:.0f} s")
                break
            if not self.is_over:
                for _ in [moment for moment in start_at if moment <= now]:
                    self._start()
                start_at = [moment for moment in start_at if moment > now]
            time.sleep(_POLL_SECONDS)
        injector.join(10)
        self.look()

    def _plan_of(self, number: int) -> dict[str, str]:
        plan: dict[str, str] = {}
        if number < len(self.scenario.crashes):
            plan[hooks.CRASH] = self.scenario.crashes[number]
        if number < len(self.scenario.stops):
            plan[hooks.STOP] = self.scenario.stops[number]
        for kind, wanted in (("crash", plan.get(hooks.CRASH)), ("SIGSTOP", plan.get(hooks.STOP))):
            if wanted:
                self.injected[f"{kind} {wanted.partition(':')[0]}"] += 1
        return plan

    def _inject(self) -> None:
        if self.scenario.during is None:
            return
        try:
            self.scenario.during(self)
        except Exception as error:
            self.problems.append(f"the injector failed: {type(error).__name__}: {error}")

    def _ended(self, worker: Worker) -> None:
        code = worker.process.returncode
        if code == -9:
            self.strike(self._cause(worker), doubt=self.in_flight)
        elif code:
            self.problems.append(f"a worker ended with code {code}: {worker.end_of_log()}")

    def _cause(self, worker: Worker) -> str:
        number = worker.number - 1
        if number < len(self.scenario.crashes):
            return f"crash {self.scenario.crashes[number].partition(':')[0]}"
        return "worker killed"

    def _wake_sleepers(self) -> None:
        """A worker that SIGSTOP holds sleeps for longer than any lease it may have."""
        lease = self.rig.settings.batch_lease_seconds
        for worker in self.workers.alive:
            number = worker.number - 1
            if number >= len(self.scenario.stops):
                continue
            if worker.pid not in self._sleepers:
                if self.workers.is_stopped(worker):
                    self._sleepers[worker.pid] = time.monotonic() + lease + 2.0
                    point = self.scenario.stops[number].partition(":")[0]
                    self.strike(f"SIGSTOP {point}", doubt=self.in_flight)
            elif time.monotonic() > self._sleepers[worker.pid]:
                self.workers.wake(worker)

    def _see_cuts(self) -> None:
        while self.proxy is not None and self._cuts_seen < len(self.proxy.fired):
            cut = self.proxy.fired[self._cuts_seen]
            self._cuts_seen += 1
            # Nobody knows then that it may be sent, so nobody sends it, and nobody can tell from outside.
            is_in_doubt = cut.state == "sending" and cut.is_passed_on
            self.strike(cut.name, doubt=self.scenario.batch if is_in_doubt else 0)

    def cut(self, cut: Cut) -> None:
        """Arm the proxy."""
        if self.proxy is None:
            raise ValueError(f"{self.scenario.name} has no proxy")
        self.injected[cut.name] += 1
        self.proxy.arm(cut)

    def _count_provider_faults(self) -> None:
        fired = self.rig.sandbox.fired()
        for kind in {kind for kind in self.injected if f"{self.provider}:{kind}" in fired}:
            name = f"{self.provider}:{kind}"
            count = min(fired[name] - self._before.get(name, 0), self.injected[kind])
            self.fired[kind] += count
            if kind in UNCERTAIN:
                self.doubt += count * (self.scenario.batch if self.provider == "sendgrid" else 1)

    def _wait_for_evidence(self) -> None:
        """Until the sandbox has posted all events and all are applied; the inbox is swept as the scheduled flow does."""
        deadline = time.monotonic() + EVIDENCE_SECONDS
        while time.monotonic() < deadline:
            apply_waiting(self.rig.database)
            apply_waiting(self.rig.database, state=InboxState.FAILED)
            if not self.rig.sandbox.pending_events() and not self._unapplied():
                return
            time.sleep(_POLL_SECONDS)
        self.problems.append("not all events were applied")

    def _unapplied(self) -> int:
        with self.rig.database.reading() as session:
            statement = text(f"SELECT count(*) FROM {PREFIX}webhook_deliveries WHERE state <> 'applied'")
            return int(session.execute(statement).scalar_one())

    def _outcome(self, seconds: float) -> Outcome:
        findings = check(
            Question(
                database_url=self.rig.settings.database_url,
                table_prefix=PREFIX,
                journal=self.rig.sandbox.journal,
                execution_id=self.campaign.execution_id,
                intended=self.scenario.clients,
                bound=self.doubt,
                suppressed=self.suppressed,
                commits=self._commits,
            )
        )
        return outcome_of(self, self.scenario.name, seconds, findings, self.problems)


def outcome_of(
    seen: Observed, name: str, seconds: float, findings: Findings, problems: Sequence[str]
) -> Outcome:
    """The line of the report. A scenario whose faults did not all fire has proved nothing, and says so."""
    silent = [fault for fault in seen.injected if not seen.fired[fault]]
    more = [f"never fired: {', '.join(silent)}"] if silent else []
    if any(recovery.seconds is None for recovery in seen.recoveries):
        more.append("something was not recovered from")
    return Outcome(
        name=name,
        seconds=seconds,
        injected=dict(seen.injected),
        fired={fault: count for fault, count in seen.fired.items() if count},
        findings=findings,
        recoveries=[each.seconds for each in seen.recoveries if each.seconds is not None],
        violations=[*findings.violations, *problems, *more],
    )
