"""The report: a line for each scenario, the totals, and whether it passes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.run import Outcome
from tests.faults.suite import Suite

COLUMNS = (
    *("scenario", "faults injected", "fired", "recipients", "accepted", "duplicates", "lost", "unknown"),
    *("oldest s", "bound", "by evidence", "after unsub.", "recovery p50/max s", "s", ""),
)


def totals_of(suite: Suite, *, seed: int, seconds: float) -> dict[str, Any]:
    """The sums of all scenarios; recovery times in seconds."""
    outcomes = suite.outcomes
    found = [outcome.findings for outcome in outcomes]
    recoveries = sorted(each for outcome in outcomes for each in outcome.recoveries)
    return {
        "seed": seed,
        "scenarios": len(outcomes),
        "failed_scenarios": sum(bool(outcome.violations) for outcome in outcomes) + len(suite.errors),
        "left_out": len(suite.left_out),
        "faults_injected": _sum_of(outcome.injected for outcome in outcomes),
        "faults_fired": _sum_of(outcome.fired for outcome in outcomes),
        "recipients": sum(each.recipients for each in found),
        "accepted": sum(each.accepted for each in found),
        "duplicates": sum(each.duplicates for each in found),
        "lost": sum(each.lost for each in found),
        "unknown_now": sum(each.unknown for each in found),
        "unknown_oldest_seconds": round(max((each.oldest_unknown for each in found), default=0.0), 1),
        "unknown_bound": sum(each.bound for each in found),
        "resolved_by_evidence": sum(each.resolved for each in found),
        "unsubscribed": sum(each.unsubscribed for each in found),
        "sent_after_unsubscribe": sum(each.sent_after_unsubscribe for each in found),
        "recovery_p50_seconds": round(median(recoveries), 1) if recoveries else None,
        "recovery_max_seconds": round(recoveries[-1], 1) if recoveries else None,
        "seconds": round(seconds),
    }


def passes(suite: Suite) -> bool:
    return not suite.errors and not any(outcome.violations for outcome in suite.outcomes)


def show(console: Console, suite: Suite, totals: dict[str, Any]) -> None:
    """Print the table, the violations and the totals."""
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for outcome in suite.outcomes:
        table.add_row(*_row(outcome))
    console.print(table)
    for outcome in suite.outcomes:
        for violation in outcome.violations:
            console.print(f"[red]FAIL[/red] {outcome.name}: {violation}")
    for error in suite.errors:
        console.print(f"[red]ERROR[/red] {error}")
    if suite.left_out:
        console.print(f"no time for: {', '.join(suite.left_out)}")
    console.print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in totals.items()))
    console.print("passed" if passes(suite) else "[red]FAILED[/red]")


def line_of(outcome: Outcome) -> str:
    """What is said while the suite runs."""
    verdict = "FAIL" if outcome.violations else "ok"
    fired = ", ".join(f"{name} × {count}" for name, count in sorted(outcome.fired.items()))
    return f"{verdict:4} {outcome.name} ({outcome.seconds:.1f} s): {fired}"


def as_json(suite: Suite, totals: dict[str, Any]) -> dict[str, Any]:
    outcomes = [asdict(outcome) for outcome in suite.outcomes]
    return {"totals": totals, "passed": passes(suite), "left_out": suite.left_out, "scenarios": outcomes}


def _row(outcome: Outcome) -> Sequence[str]:
    found = outcome.findings
    recovery = "-"
    if outcome.recoveries:
        recovery = f"{median(outcome.recoveries):.1f}/{max(outcome.recoveries):.1f}"
    numbers = (found.recipients, found.accepted, found.duplicates, found.lost, found.unknown)
    more = (found.bound, found.resolved, found.sent_after_unsubscribe)
    return (
        outcome.name,
        str(sum(outcome.injected.values())),
        str(sum(outcome.fired.values())),
        *map(str, numbers),
        f"{found.oldest_unknown:.0f}",
        *map(str, more),
        recovery,
        f"{outcome.seconds:.0f}",
        "[red]FAIL[/red]" if outcome.violations else "ok",
    )


def _sum_of(counts: Iterable[Any]) -> int:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return sum(total.values())
