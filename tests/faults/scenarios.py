"""The scenarios: what campaign runs, and what happens to it. Each names its faults; `run.py` does the rest."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import httpx

from db.states import Channel
from deployments.program import kill_group
from tasks.feedback.unsubscribe_links import unsubscribe_url
from tasks.signing import secret_key
from tests.faults.campaign import Opened
from tests.faults.checker import list_references
from tests.faults.hooks import Point
from tests.faults.light_run import LightRun
from tests.faults.proxy import Cut

Injector = Callable[[LightRun], None]


class Place(StrEnum):
    """What a scenario runs against."""

    RIG = "rig"
    """A rig that scenarios share, one after the other."""
    OWN_SERVER = "own server"
    """A rig with a database server that may be killed."""


@dataclass(frozen=True)
class Scenario:
    """A campaign and its faults.

    `batch` is messages a batch, `lanes` threads a worker, `latency` seconds that every answer takes. The first workers
    get `crashes` and `stops`, one each, as `point:count`. `clock` shifts that of all workers, in seconds. With
    `is_evidence_late` no event comes before the blast is over: early ones would tell what became of a dead worker's
    batch before its lease ends, and so heal what they ought to find. `before` runs before the first worker is started,
    `during` beside them.
    """

    name: str
    what: str
    channel: Channel = Channel.EMAIL
    clients: int = 300
    batch: int = 20
    workers: int = 2
    lanes: int = 2
    latency: float = 0.05
    crashes: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    clock: float = 0.0
    is_proxied: bool = False
    is_evidence_late: bool = False
    place: Place = Place.RIG
    before: Injector | None = None
    during: Injector | None = None


def _crash(point: Point, channel: Channel = Channel.EMAIL) -> Scenario:
    is_sms = channel is Channel.SMS
    return Scenario(
        name=f"crash_{point}{'_sms' if is_sms else ''}",
        what=f"a worker is killed {point.replace('_', ' ')}",
        channel=channel,
        clients=160 if is_sms else 300,
        latency=0.0 if is_sms else 0.05,
        is_evidence_late=True,
        # Requests of SMS are one a message: the middle of the second batch.
        crashes=(f"{point}:{30 if is_sms and point in _OF_REQUESTS else 2}",),
    )


_OF_REQUESTS = (Point.BEFORE_POST, Point.MID_POST, Point.AFTER_POST)


def _kill_at_random(run: LightRun) -> None:
    """Four workers, drawn by the seed, at moments drawn by the seed."""
    for number in range(4):
        run.wait_for(round(run.scenario.clients * (number + run.chance.random()) / 5))
        time.sleep(run.chance.random() * run.scenario.latency)
        if run.workers.alive and not run.is_over:
            run.kill(run.chance.choice(run.workers.alive))


def _kill_all(run: LightRun) -> None:
    run.wait_for(run.scenario.clients // 3)
    for worker in list(run.workers.alive):
        run.kill(worker)


def _kill_database(run: LightRun) -> None:
    """kill -9 of the server with batches in the air, twice; a second later it is there again."""
    assert run.rig.server is not None
    for share in (0.2, 0.5):
        run.wait_for(round(run.scenario.clients * share))
        run.injected["database killed"] += 1
        run.rig.server.kill()
        run.strike("database killed", doubt=run.scenario.workers * run.in_flight)
        time.sleep(1.0)
        run.rig.server.start()


def _kill_provider(run: LightRun) -> None:
    """The provider is gone for a while: connections that are open break, new ones are refused."""
    run.wait_for(run.scenario.clients // 3)
    run.injected["connections refused"] += 1
    kill_group(run.rig.programs["sandbox"].pid)
    run.strike("connections refused", doubt=run.scenario.workers * run.in_flight)
    time.sleep(1.0)
    run.rig.restart("sandbox")


def _cut_answers(run: LightRun) -> None:
    for state in ("claimed", "sending", "done"):
        run.cut(Cut(state, nth=run.chance.randint(2, 4)))


def _cut_commands(run: LightRun) -> None:
    for state in ("claimed", "sending", "done"):
        run.cut(Cut(state, nth=run.chance.randint(2, 4), is_passed_on=False))


def _provider(*faults: tuple[str, float]) -> Injector:
    """Three requests of each kind get it, each request of all with probability 0.25. (kind, seconds)"""

    def inject(run: LightRun) -> None:
        drawn = run.chance.sample(faults, len(faults))
        for kind, seconds in drawn:
            run.provider_fault(kind, count=3, probability=0.25, seconds=seconds)

    return inject


_ALL_PROVIDER_FAULTS = (
    *(("latency", 1.0), ("429", 1.0), ("500_before", 0.0), ("500_after_accept", 0.0), ("hang", 4.0)),
    *(("reset_before", 0.0), ("reset_after_accept", 0.0), ("truncated", 0.0), ("garbled", 0.0)),
    *(("partial_refusal", 0.0), ("slow_drip", 4.0)),
)


def _mix_and_kill(run: LightRun) -> None:
    run.wait_for(run.scenario.clients // 3)
    if run.workers.alive and not run.is_over:
        run.kill(run.chance.choice(run.workers.alive))


def _unsubscribe(run: LightRun) -> None:
    """A third of the audience leaves during the blast, one after the other."""
    addresses = run.chance.sample(run.campaign.audience.addresses, run.scenario.clients // 3)
    run.injected["unsubscribe"] += len(addresses)
    for number, address in enumerate(addresses):
        _wait_for_turn(run, number, len(addresses))
        run.suppress(address)


def _wait_for_turn(run: LightRun, number: int, count: int) -> None:
    """Spread over the first three quarters of the blast, so that there are people who have not been written to."""
    run.wait_for(1 + round(run.scenario.clients * 0.75 * number / count))


def _write_earlier(run: LightRun) -> None:
    """The same people had a mail before: its links are what they click on during this one."""
    run.send_earlier()


def _click_unsubscribe(run: LightRun) -> None:
    earlier = run.earlier
    assert earlier is not None
    links = _links(run, earlier)
    drawn = run.chance.sample(sorted(links), min(60, len(links)))
    run.injected["unsubscribe"] += len(drawn)
    with httpx.Client(trust_env=False, timeout=10.0) as browser:
        for number, address in enumerate(drawn):
            _wait_for_turn(run, number, len(drawn))
            browser.post(links[address], data={"List-Unsubscribe": "One-Click"}).raise_for_status()
            run.note_suppressed(address)


def _links(run: LightRun, earlier: Opened) -> dict[str, str]:
    """The unsubscribe link that each recipient of the earlier mail has, by address."""
    key = secret_key(run.rig.settings)
    references = list_references(run.rig.sandbox.journal, earlier.uid)
    return {
        address: unsubscribe_url(run.rig.api_url, key, reference) for address, reference in references.items()
    }


LIGHT: tuple[Scenario, ...] = (
    *(_crash(point) for point in Point),
    *(_crash(point, Channel.SMS) for point in (Point.AFTER_SENDING_COMMIT, *_OF_REQUESTS)),
    _crash(Point.BEFORE_RECORD_COMMIT, Channel.SMS),
    Scenario(
        name="database_killed",
        what="kill -9 of the database server in the middle of a campaign, twice",
        is_evidence_late=True,
        clients=600,
        latency=0.2,
        place=Place.OWN_SERVER,
        during=_kill_database,
    ),
    Scenario(
        name="commit_answer_lost",
        what="the connection is cut when the COMMIT has reached the server",
        is_proxied=True,
        is_evidence_late=True,
        before=_cut_answers,
    ),
    Scenario(
        name="commit_lost",
        what="the connection is cut before the COMMIT reaches the server",
        is_proxied=True,
        is_evidence_late=True,
        before=_cut_commands,
    ),
    Scenario(
        name="provider_mix",
        what="all faults of the provider, drawn by the seed, and a killed worker",
        clients=900,
        before=_provider(*_ALL_PROVIDER_FAULTS),
        during=_mix_and_kill,
    ),
    Scenario(
        name="provider_mix_sms",
        what="the same with SMS",
        channel=Channel.SMS,
        clients=300,
        latency=0.02,
        before=_provider(*_ALL_PROVIDER_FAULTS),
        during=_mix_and_kill,
    ),
    Scenario(
        name="provider_away",
        what="the provider's server is killed and comes back: connections refused",
        latency=0.2,
        during=_kill_provider,
    ),
    Scenario(
        name="unsubscribes",
        what="a third of the audience unsubscribes during the blast",
        clients=600,
        latency=0.3,
        during=_unsubscribe,
    ),
    Scenario(
        name="unsubscribes_by_link",
        what="recipients use the link of an earlier mail during the blast, and a worker is killed",
        clients=400,
        latency=0.3,
        crashes=(f"{Point.AFTER_SENDING_COMMIT}:3",),
        before=_write_earlier,
        during=_click_unsubscribe,
    ),
    Scenario(
        name="unsubscribes_sms",
        what="a third of the audience leaves an SMS campaign, and a worker is killed",
        channel=Channel.SMS,
        clients=200,
        latency=0.1,
        crashes=(f"{Point.AFTER_POST}:30",),
        during=_unsubscribe,
    ),
    Scenario(
        name="worker_killed_at_random",
        what="four workers are killed at moments drawn by the seed",
        is_evidence_late=True,
        clients=900,
        latency=0.2,
        during=_kill_at_random,
    ),
    Scenario(
        name="all_workers_killed",
        what="all workers are killed at once",
        is_evidence_late=True,
        clients=600,
        workers=3,
        latency=0.2,
        during=_kill_all,
    ),
    Scenario(
        name="sleep_longer_than_the_lease",
        what="workers are stopped (SIGSTOP) for longer than their lease at three steps, then go on",
        is_evidence_late=True,
        workers=4,
        latency=0.1,
        stops=(f"{Point.AFTER_RENDER}:2", f"{Point.BEFORE_POST}:2", f"{Point.AFTER_POST}:2"),
    ),
    Scenario(
        name="two_flows_at_once",
        what="four runs of one execution, started together, of which one dies",
        is_evidence_late=True,
        workers=4,
        lanes=3,
        batch=10,
        crashes=(f"{Point.BEFORE_RECORD_COMMIT}:2",),
    ),
    Scenario(
        name="clock_ahead",
        what="the workers' clocks are an hour ahead, a worker is killed, the provider says 429",
        is_evidence_late=True,
        clock=3600.0,
        crashes=(f"{Point.AFTER_POST}:2",),
        before=_provider(("429", 1.0)),
    ),
    Scenario(
        name="clock_behind",
        what="the workers' clocks are an hour behind, a worker is killed, the provider says 429",
        is_evidence_late=True,
        clock=-3600.0,
        crashes=(f"{Point.AFTER_CLAIM}:2",),
        before=_provider(("429", 1.0)),
    ),
)
