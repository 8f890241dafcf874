"""A scenario with light workers. This process is their dispatcher; the injector runs beside it, in a thread."""

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from sqlalchemy import make_url

from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, SuppressionReason
from tests.faults import hooks, sabotage
from tests.faults.campaign import Opened, add_audience, open_campaign
from tests.faults.hooks import database_clock
from tests.faults.proxy import Cut, Proxy
from tests.faults.rig import Rig
from tests.faults.run import LONGEST_SECONDS, POLL_SECONDS, Outcome, Run
from tests.faults.workers import Worker, Workers

if TYPE_CHECKING:
    from tests.faults.scenarios import Scenario

_RESTART_SECONDS: Final = 0.3
_OVERSLEEP_SECONDS: Final = 2.0
# What leaves the client without a readable answer, so that it cannot know: the messages of the request become unknown.
_UNCERTAIN: Final = frozenset(
    {
        *("500_before", "500_after_accept", "reset_before", "reset_after_accept"),
        *("hang", "truncated", "garbled", "slow_drip"),
    }
)


class LightRun(Run):
    """Made for one scenario, executed once."""

    def __init__(
        self, rig: Rig, scenario: "Scenario", *, seed: int, way: sabotage.Sabotage | None = None
    ) -> None:
        first = rig.take_numbers(scenario.clients)
        name = f"{scenario.name} {first}"
        audience = add_audience(
            rig.database, name, channel=scenario.channel, clients=scenario.clients, first=first
        )
        super().__init__(rig, open_campaign(rig.database, audience))
        self.scenario = scenario
        self.chance = Random(f"{seed}/{scenario.name}")
        self.earlier: Opened | None = None
        self._way = way
        self._proxy: Proxy | None = None
        self._cuts_seen = 0
        self._sleepers: dict[int, float] = {}
        self._fired_before: Mapping[str, int] = rig.sandbox.fired()
        self.workers = self._make_workers()

    @property
    def provider(self) -> str:
        return "sendgrid" if self.scenario.channel is Channel.EMAIL else "sendmode"

    @property
    def in_flight(self) -> int:
        """Messages that one process can have in doubt at once."""
        return self.scenario.lanes * self.scenario.batch

    def execute(self) -> Outcome:
        """Run to the end, whatever comes."""
        self.rig.sandbox.clear()
        try:
            if self.scenario.before:
                self.scenario.before(self)
            if self.scenario.latency:
                self.slow_down(self.scenario.latency)
            if self.scenario.is_evidence_late:
                self.rig.hold_evidence()
            self._drive()
        finally:
            self.rig.let_evidence_in()
            self.workers.stop()
            if self._proxy is not None:
                self._proxy.close()
        self._count_provider_faults()
        self.rig.sandbox.clear()
        self.wait_for_evidence()
        return self.outcome(self.scenario.name, commits=self._commits)

    def send_earlier(self) -> Opened:
        """Send the same flow to the same people once before, without a fault; returns that execution."""
        self.earlier, self.campaign = self.campaign, open_campaign(self.rig.database, self.campaign.audience)
        workers = Workers(self.earlier.execution_id, self.rig.environment, self.rig.home / "logs")
        if workers.start().process.wait(LONGEST_SECONDS) != 0:
            self.problems.append("the earlier mail was not sent")
        self.workers = self._make_workers()
        return self.earlier

    def slow_down(self, seconds: float) -> None:
        """Every other answer takes so long: without it a campaign is over before anything can happen to it."""
        self.rig.sandbox.fail(self.provider, "latency", count=1_000_000, seconds=seconds)

    def provider_fault(
        self, kind: str, *, count: int, probability: float = 1.0, seconds: float = 1.0
    ) -> None:
        """Set a switch of the sandbox: `count` of the next requests get it, each with the probability."""
        self.injected[kind] += count
        self.rig.sandbox.fail(self.provider, kind, count=count, probability=probability, seconds=seconds)

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

    def cut(self, cut: Cut) -> None:
        """Arm the proxy."""
        if self._proxy is None:
            raise ValueError(f"{self.scenario.name} has no proxy")
        self.injected[cut.name] += 1
        self._proxy.arm(cut)

    @property
    def _commits(self) -> Path:
        return self.rig.home / "commits" / str(self.campaign.execution_id)

    def _make_workers(self) -> Workers:
        scenario = self.scenario
        environment = {
            **self.rig.environment,
            "ICS_EMAIL_BATCH_SIZE": str(scenario.batch),
            "ICS_SMS_BATCH_SIZE": str(scenario.batch),
            "ICS_SMS_CONCURRENCY": "4",
            "ICS_SEND_LANES": str(scenario.lanes),
            hooks.CLOCK: str(scenario.clock),
            sabotage.VARIABLE: self._way.value if self._way else "",
        }
        if scenario.is_proxied:
            url = make_url(self.rig.settings.database_url)
            self._proxy = Proxy(url.host or "127.0.0.1", url.port or 3306)
            through = url.set(host="127.0.0.1", port=self._proxy.port)
            environment["ICS_DATABASE_URL"] = through.render_as_string(hide_password=False)
        return Workers(self.campaign.execution_id, environment, self.rig.home / "logs")

    def _start(self, **more: str) -> None:
        self._commits.mkdir(parents=True, exist_ok=True)
        path = self._commits / f"{time.monotonic_ns()}.jsonl"
        self.workers.start(**{hooks.COMMITS: str(path), **more})

    def _drive(self) -> None:
        """Start workers while the execution is not over, in place of those that ended, until all is over."""
        for number in range(self.scenario.workers):
            self._start(**self._plan_of(number))
        injector = threading.Thread(target=self._inject, daemon=True)
        injector.start()
        deadline = time.monotonic() + LONGEST_SECONDS
        due: list[float] = []
        while not self.is_over or self.workers.alive:
            if time.monotonic() > deadline:
                self.problems.append(f"not over after {LONGEST_SECONDS:.0f} s")
                break
            self.look()
            due += [
                time.monotonic() + _RESTART_SECONDS for worker in self.workers.reap() if self._saw(worker)
            ]
            self._wake_sleepers()
            self._see_cuts()
            while due and not self.is_over and due[0] <= time.monotonic():
                due.pop(0)
                self._start()
            time.sleep(POLL_SECONDS)
        injector.join(10)
        self.look()

    def _plan_of(self, number: int) -> dict[str, str]:
        """What the first workers are made to do to themselves."""
        plan: dict[str, str] = {}
        for variable, wanted in ((hooks.CRASH, self.scenario.crashes), (hooks.STOP, self.scenario.stops)):
            if number < len(wanted):
                plan[variable] = wanted[number]
                self.injected[_name_of(variable, wanted[number])] += 1
        return plan

    def _inject(self) -> None:
        if self.scenario.during is None:
            return
        try:
            self.scenario.during(self)
        except Exception as error:
            self.problems.append(f"the injector failed: {type(error).__name__}: {error}")

    def _saw(self, worker: Worker) -> bool:
        """Take note of the end of a worker; every one that ends early is replaced."""
        code = worker.process.returncode
        if code == -9:
            number = worker.number - 1
            is_planned = number < len(self.scenario.crashes)
            name = _name_of(hooks.CRASH, self.scenario.crashes[number]) if is_planned else "worker killed"
            self.strike(name, doubt=self.in_flight)
        elif code:
            self.problems.append(f"a worker ended with code {code}: {worker.end_of_log()}")
        return True

    def _wake_sleepers(self) -> None:
        """A worker that SIGSTOP holds sleeps for longer than any lease it may have."""
        for worker in self.workers.alive:
            number = worker.number - 1
            if number >= len(self.scenario.stops):
                continue
            if worker.pid not in self._sleepers and self.workers.is_stopped(worker):
                lease = self.rig.settings.batch_lease_seconds
                self._sleepers[worker.pid] = time.monotonic() + lease + _OVERSLEEP_SECONDS
                self.strike(_name_of(hooks.STOP, self.scenario.stops[number]), doubt=self.in_flight)
            elif time.monotonic() > self._sleepers.get(worker.pid, float("inf")):
                self.workers.wake(worker)

    def _see_cuts(self) -> None:
        while self._proxy is not None and self._cuts_seen < len(self._proxy.fired):
            cut = self._proxy.fired[self._cuts_seen]
            self._cuts_seen += 1
            # Its worker cannot know that it may send, so nobody sends it, and nobody can tell that from outside.
            is_in_doubt = cut.state == "sending" and cut.is_passed_on
            self.strike(cut.name, doubt=self.scenario.batch if is_in_doubt else 0)

    def _count_provider_faults(self) -> None:
        fired = self.rig.sandbox.fired()
        for kind, asked in self.injected.items():
            name = f"{self.provider}:{kind}"
            count = min(fired.get(name, 0) - self._fired_before.get(name, 0), asked)
            self.fired[kind] += count
            if kind in _UNCERTAIN:
                self.doubt += count * (self.scenario.batch if self.provider == "sendgrid" else 1)


def _name_of(variable: str, plan: str) -> str:
    word = "crash" if variable == hooks.CRASH else "SIGSTOP"
    return f"{word} {plan.partition(':')[0]}"
