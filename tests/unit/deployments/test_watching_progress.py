"""The bars of executions in the terminal."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from deployments import watching
from deployments.watching import Rate, watch_executions

COUNTS = dict.fromkeys(
    (
        "intended",
        "pending",
        "sending",
        "failed",
        "unknown",
        "delivered",
        "bounced",
        "opened",
        "clicked",
        "unsubscribed",
    ),
    0,
)


def picture(state: str, *, name: str = "Spring", sms: int = 0, **counts: int) -> dict[str, Any]:
    return {
        "state": state,
        "flow_name": name,
        "messages": {**COUNTS, **counts},
        "sms": {"delivered": sms} if sms else {},
    }


def watch(monkeypatch: pytest.MonkeyPatch, *pictures: tuple[int, dict[str, Any]]) -> tuple[list[str], str]:
    """The states at the end, and what the terminal shows then."""
    terminal = StringIO()
    console = Console(file=terminal, force_terminal=True, width=160, highlight=False, color_system=None)

    def follow(*_: Any, **__: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from pictures
        pytest.fail("it watched longer than it had to")

    monkeypatch.setattr(watching, "console", console)
    monkeypatch.setattr(watching, "follow", follow)
    states = watch_executions(None, sorted({key for key, _ in pictures}))  # type: ignore[arg-type]
    return states, terminal.getvalue()


def test_it_ends_when_the_last_execution_has(monkeypatch: pytest.MonkeyPatch) -> None:
    states, _ = watch(
        monkeypatch,
        (1, picture("sending", intended=10, pending=10)),
        (1, picture("completed", intended=10)),
        (2, picture("sending", intended=10, pending=4)),
        (2, picture("paused", intended=10, pending=4)),
    )
    assert states == ["completed", "paused"]


def test_the_bar_counts_what_is_in_a_final_state_and_what_providers_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, shown = watch(
        monkeypatch,
        (
            1,
            picture(
                "settling",
                intended=2000,
                pending=200,
                sending=200,
                unknown=100,
                delivered=1200,
                bounced=3,
                sms=34,
            ),
        ),
    )
    assert "1500/2000" in shown
    assert "unknown 100 delivered 1,234 bounced 3" in shown
    assert "opened" not in shown


def test_an_execution_without_its_snapshot_has_no_counts_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    queued = {"state": "queued", "flow_name": "Spring", "messages": {}, "sms": {}}
    states, shown = watch(monkeypatch, (1, queued), (1, picture("completed", intended=1)))
    assert states == ["completed"]
    assert "Spring: queued" in shown or "Spring: completed" in shown


@pytest.mark.parametrize("name", ["[/red] sale", "[bold]", "[link=x]"])
def test_a_name_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _, shown = watch(monkeypatch, (1, picture("completed", name=name, intended=1)))
    assert f"{name}: completed" in shown


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    seen = [(100.0, 0), (101.0, 5_000), (110.0, 6_000), (112.0, 10_000)]
    assert [rate.of(done, now=now) for now, done in seen] == [None, 5_000.0, None, 2_000.0]
