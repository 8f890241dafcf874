"""`ics status`: counts in groups, with rates where they mean something, and nothing that is 0 but what was intended."""

from typing import Any

import pytest
from rich.console import Console

from api.schemas.statistics import StatsBlocks
from db.models import SendmodeStats, Stats
from db.queries.stats import Counts, columns_of
from deployments import watching
from deployments.watching import groups_of, rows_of, show_status


def answer(sms: dict[str, int] | None = None, price: float = 0.0, **messages: int) -> dict[str, Any]:
    """What the API answers about these counts."""
    counts = Counts(
        dict.fromkeys(columns_of(Stats), 0) | messages,
        dict.fromkeys(columns_of(SendmodeStats), 0) | (sms or {}),
        {"excluded": {"no_consent": 2}, "bounced": {"technical": 1}} if messages else {},
    )
    blocks = StatsBlocks.blocks_of(counts, price=price, currency="EUR").model_dump()
    return {"messages": counts.messages, "sms": counts.sms, "exclusions": counts.exclusions, **blocks}


def test_an_execution_without_anything_has_one_line() -> None:
    assert groups_of(answer()) == [[("intended", 0, "")]]


def test_people_and_machines_stand_apart_and_rates_say_what_they_are_out_of() -> None:
    stats = answer(
        intended=12, excluded=2, accepted=10, delivered=8, bounced=1, opened=4, opens=6, machine_opened=2,
        machine_opens=3, complained=1,
    )  # fmt: skip
    assert groups_of(stats) == [
        [("intended", 12, ""), ("excluded", 2, ""), ("accepted", 10, ""), ("  excluded: no_consent", 2, "")],
        [
            ("delivered", 8, "80.00 % of accepted"),
            ("hard bounces", 1, "10.00 % of accepted"),
            ("  bounces: technical", 1, ""),
        ],
        [
            ("opened by people", 4, "50.00 % of delivered"),
            ("opened by machines", 2, ""),
            ("  by people, opened in all", 6, ""),
            ("  by machines, opened in all", 3, ""),
        ],
        [("complaints", 1, "10.00 % of accepted")],
    ]
    assert ("opened by people", 4) in rows_of(stats)


def test_sms_have_their_parts_and_their_cost() -> None:
    found = groups_of(answer({"sent": 2, "parts": 3, "opted_out": 1}, price=0.05))
    assert found[-1] == [
        ("sms sent", 2, ""),
        ("sms parts", 3, ""),
        ("sms opt outs", 1, ""),
        ("sms parts paid for", 3, "0.15 EUR"),
    ]


def test_a_warning_that_is_the_reason_too_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def get(self, path: str) -> dict[str, Any]:
            words = "the complaint rate is 1 % [over]"
            return (
                answer() if path.endswith("stats") else {"state": "paused", "reason": words, "warning": words}
            )

    console = Console(width=100, record=True, quiet=False)
    monkeypatch.setattr(watching, "console", console)
    show_status(Client(), 7)  # type: ignore[arg-type]
    text = console.export_text()
    assert text.count("the complaint rate is 1 % [over]") == 1
    assert "execution 7: paused" in text
