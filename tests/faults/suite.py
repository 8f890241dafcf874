"""Runs scenarios in a bounded time: the light ones side by side, those with Prefect's whole stack after them."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deployments.test_database import throwaway_server
from tests.faults.light_run import LightRun
from tests.faults.prefect_stack import SCENARIOS, StackRun, full_stack
from tests.faults.rig import Rig, open_rig, own_home
from tests.faults.run import Outcome
from tests.faults.sabotage import Sabotage
from tests.faults.scenarios import Place, Scenario

SIDE_BY_SIDE: Final = 2
"""Scenarios mostly wait for leases, so two of them share two cores without disturbing each other."""
LIGHT_SECONDS: Final = 30.0
STACK_START_SECONDS: Final = 60.0
STACK_SECONDS: Final = 60.0
"""None is begun with less time left than these: on a light worker, and on Prefect's stack."""


@dataclass
class Suite:
    """What was run, and what there was no time for (or did not run for another reason)."""

    outcomes: list[Outcome] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass
class LightRunner:
    """Threads that take scenarios from one queue, each with a rig of its own."""

    server_url: str
    seed: int
    deadline: float
    sabotage: Sabotage | None
    say: Callable[[Outcome], None]
    suite: Suite
    logs: Path | None = None

    def run(self, scenarios: Sequence[Scenario]) -> None:
        waiting: queue.SimpleQueue[Scenario] = queue.SimpleQueue()
        # The longest first, so that the threads end together.
        for scenario in sorted(scenarios, key=lambda each: each.place is Place.RIG):
            waiting.put(scenario)
        count = min(SIDE_BY_SIDE, len(scenarios))
        threads = [threading.Thread(target=self._work, args=(waiting,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, waiting: "queue.SimpleQueue[Scenario]") -> None:
        with ExitStack() as stack, suppress(queue.Empty):
            rig: Rig | None = None
            while True:
                scenario = waiting.get_nowait()
                if time.monotonic() + LIGHT_SECONDS > self.deadline:
                    self.suite.left_out.append(scenario.name)
                    continue
                try:
                    if scenario.place is Place.OWN_SERVER:
                        with self._own_server_rig() as own:
                            self._execute(own, scenario)
                        continue
                    if rig is None:
                        rig = stack.enter_context(self._rig())
                    self._execute(rig, scenario)
                except Exception as error:
                    self.suite.errors.append(f"{scenario.name}: {type(error).__name__}: {error}")

    def _execute(self, rig: Rig, scenario: Scenario) -> None:
        outcome = LightRun(rig, scenario, seed=self.seed, way=self.sabotage).execute()
        self.suite.outcomes.append(outcome)
        self.say(outcome)

    @contextmanager
    def _rig(self) -> Iterator[Rig]:
        with own_home(self.logs) as home, open_rig(self.server_url, home, seed=self.seed) as rig:
            yield rig

    @contextmanager
    def _own_server_rig(self) -> Iterator[Rig]:
        """A rig whose database server may be killed."""
        with (
            throwaway_server() as server,
            own_home(self.logs) as home,
            open_rig(server.url, home, seed=self.seed, server=server) as rig,
        ):
            yield rig


def run_on_stack(
    names: Sequence[str],
    *,
    server_url: str,
    seed: int,
    deadline: float,
    say: Callable[[Outcome], None],
    suite: Suite,
    logs: Path | None = None,
) -> None:
    """The scenarios with Prefect, one after the other on one stack. In the main thread only."""
    if not names:
        return
    if time.monotonic() + STACK_START_SECONDS + STACK_SECONDS > deadline:
        suite.left_out += names
        return
    with full_stack(server_url, seed=seed, logs=logs) as stack:
        for name in names:
            if time.monotonic() + STACK_SECONDS > deadline:
                suite.left_out.append(name)
                continue
            try:
                outcome = StackRun(stack, name, seed=seed).execute(SCENARIOS[name][1])
            except Exception as error:
                suite.errors.append(f"{name}: {type(error).__name__}: {error}")
                continue
            suite.outcomes.append(outcome)
            say(outcome)
