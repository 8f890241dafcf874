"""The watcher: what it reads, who gets what, and when it stops. Database and clock are the tests' own."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from tasks.live import hub as hubs
from tasks.live import listeners
from tasks.live.hub import CHECK_SECONDS, Hub, Seen
from tasks.live.listeners import End, Listener, Listeners, TooManyListeners
from tasks.live.updates import Update

SOON = 5.0
NOT_NOW = 0.02


class Executions:
    """Stands in for the database: one number per execution, and the tokens that are active."""

    def __init__(self) -> None:
        self.numbers = {1: 0, 2: 0}
        self.active = {7, 8}
        self.is_away = False
        self.looks: list[tuple[set[int], set[int]]] = []
        self.now = 0.0

    def look(self, execution_ids: Collection[int], token_ids: Collection[int]) -> Seen:
        self.looks.append((set(execution_ids), set(token_ids)))
        if self.is_away:
            raise ConnectionError
        updates = {each: Update.of({"n": self.numbers[each]}) for each in execution_ids}
        return Seen(updates, self.active & set(token_ids))

    def hub(self) -> Hub:
        return Hub(self.look, clock=lambda: self.now)

    async def turns(self, number: int = 2) -> None:
        """Until the watcher has looked so many times more."""
        after = len(self.looks) + number
        await until(lambda: len(self.looks) >= after)


@pytest.fixture
def executions(monkeypatch: pytest.MonkeyPatch) -> Executions:
    monkeypatch.setattr(hubs, "INTERVAL_SECONDS", 0.001)
    return Executions()


def scenario(test: Callable[[Executions], Coroutine[Any, Any, None]]) -> Callable[[Executions], None]:
    def run(executions: Executions) -> None:
        asyncio.run(test(executions))

    run.__name__ = test.__name__
    return run


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110 - the watcher has nothing to wait for, and should get nothing for tests.
            await asyncio.sleep(0)


async def number_of(listener: Listener) -> str:
    update = await listener.next(SOON)
    assert update is not None
    return update.message.partition('"n":')[2].rstrip("}")


@scenario
async def test_nothing_is_read_while_nobody_listens(executions: Executions) -> None:
    hub = executions.hub()
    await asyncio.sleep(NOT_NOW)
    assert not executions.looks
    with hub.listening(1, 7) as listener:
        await number_of(listener)
    await until(lambda: not hub.is_watching)
    with hub.listening(1, 7) as listener:
        assert await number_of(listener) == "0"


@scenario
async def test_one_look_is_for_all_listeners_and_all_executions(executions: Executions) -> None:
    hub = executions.hub()
    joined = [hub.join(1 + number % 2, 7) for number in range(100)]
    first = [await listener.next(SOON) for listener in joined]
    assert len(executions.looks) < 10
    assert executions.looks[0][0] == {1, 2}
    # Not only equal: each of the two was encoded once.
    assert len({id(update) for update in first}) == 2
    hub.close()


@scenario
async def test_it_works_on_behalf_of_no_request(executions: Executions) -> None:
    """Or each line that it logs would have the name of the request that came first."""
    request_id: ContextVar[str] = ContextVar("request_id", default="")
    request_id.set("of the first listener")
    found: list[str] = []

    def look(execution_ids: Collection[int], token_ids: Collection[int]) -> Seen:
        found.append(request_id.get())
        return executions.look(execution_ids, token_ids)

    with Hub(look).listening(1, 7) as listener:
        await number_of(listener)
    assert set(found) == {""}


@scenario
async def test_who_has_it_already_hears_only_of_a_change(executions: Executions) -> None:
    hub = executions.hub()
    known = Update.of({"n": 0}).id
    with hub.listening(1, 7, seen=known) as listener:
        await executions.turns()
        assert await listener.next(NOT_NOW) is None
        executions.numbers[1] = 1
        assert await number_of(listener) == "1"


@scenario
async def test_a_second_listener_does_not_wait_for_the_next_look(executions: Executions) -> None:
    hub = executions.hub()
    with hub.listening(1, 7) as first:
        await number_of(first)
        executions.is_away = True
        with hub.listening(1, 7) as second:
            assert await number_of(second) == "0"


@scenario
async def test_a_slow_listener_gets_the_newest_and_nothing_else(executions: Executions) -> None:
    hub = executions.hub()
    with hub.listening(1, 7) as listener:
        for number in range(20):
            executions.numbers[1] = number
            await executions.turns()
        assert await number_of(listener) == "19"
        assert await listener.next(NOT_NOW) is None


@scenario
async def test_what_changed_and_changed_back_is_no_news(executions: Executions) -> None:
    hub = executions.hub()
    with hub.listening(1, 7) as listener:
        await number_of(listener)
        for number in (5, 0):
            executions.numbers[1] = number
            await executions.turns()
        assert await listener.next(NOT_NOW) is None


@scenario
async def test_listeners_stay_while_the_database_is_away(executions: Executions) -> None:
    hub = executions.hub()
    executions.now = CHECK_SECONDS
    with hub.listening(1, 7) as listener:
        await number_of(listener)
        executions.is_away, executions.now = True, 10 * CHECK_SECONDS
        executions.numbers[1] = 1
        await executions.turns(5)
        assert listener.end is None
        executions.is_away = False
        assert await number_of(listener) == "1"


@scenario
async def test_a_revoked_token_is_noticed_by_one_look_and_ends_only_its_own(executions: Executions) -> None:
    hub = executions.hub()
    revoked, other = hub.join(1, 7), hub.join(1, 8)
    for listener in (revoked, other):
        await number_of(listener)
    executions.active = {8}
    await executions.turns(5)
    assert revoked.end is None
    assert all(tokens == set() for _, tokens in executions.looks)
    executions.now = CHECK_SECONDS
    assert await revoked.next(SOON) is None
    assert {each.end for each in (revoked, other)} == {End.REVOKED, None}
    assert other.end is None
    await executions.turns(5)
    assert sum(tokens == {7, 8} for _, tokens in executions.looks) == 1
    hub.close()


@scenario
async def test_a_hub_that_is_closed_wakes_all_and_takes_nobody(executions: Executions) -> None:
    hub = executions.hub()
    joined = [hub.join(each, 7) for each in (1, 2)]
    for listener in joined:
        await number_of(listener)
    hub.close()
    assert [await listener.next(SOON) for listener in joined] == [None, None]
    assert {listener.end for listener in joined} == {End.STOPPING}
    with pytest.raises(TooManyListeners):
        hub.join(1, 7)


def test_places_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "MOST_LISTENERS", 3)
    monkeypatch.setattr(listeners, "MOST_OF_ONE_TOKEN", 2)
    room, of_seven = Listeners(), [Listener(1, 7, None) for _ in range(3)]
    room.add(of_seven[0])
    room.add(of_seven[1])
    with pytest.raises(TooManyListeners):
        room.add(of_seven[2])
    room.add(Listener(1, 8, None))
    with pytest.raises(TooManyListeners):
        room.add(Listener(1, 9, None))
    # Twice: a stream may end in more than one way at once.
    room.remove(of_seven[0])
    room.remove(of_seven[0])
    assert len(room) == 2
    room.add(of_seven[2])
    for listener in list(room):
        room.remove(listener)
    assert (len(room), room.execution_ids, room.token_ids) == (0, [], [])


def test_what_nobody_keeps_up_to_date_is_not_shown_later() -> None:
    room, first = Listeners(), Listener(1, 7, None)
    room.add(first)
    room.offer(1, Update.of({"n": 1}))
    room.remove(first)
    later = Listener(1, 7, None)
    room.add(later)
    assert asyncio.run(later.next(NOT_NOW)) is None
