"""`ics audit verify`: whether the audit log is as it was sealed."""

from rich.console import Console

from db.engine import get_database
from deployments.checks import check_database
from settings import Settings
from tasks.access.audit import seal_entries, verify_seals

console = Console(highlight=False)


def verify(settings: Settings) -> int:
    """Returns the exit code: 1 when a piece of the log is not as it was sealed."""
    check_database(settings)
    database = get_database()
    seal_entries(database, settings)
    verdict = verify_seals(database, settings)
    for first, last in verdict.broken:
        console.print(f"entries {first} to {last} are not as they were sealed: changed, taken out or added")
    if verdict.broken:
        return 1
    console.print(f"{verdict.entries} entries under {verdict.seals} seals are as they were sealed")
    if verdict.unsealed:
        console.print(
            f"{verdict.unsealed} newer entries have no seal yet: they get one when they are an hour old"
        )
    if verdict.digest:
        console.print(f"newest seal {verdict.digest}", soft_wrap=True)
        console.print("Keep this elsewhere: a log that was cut at its end no longer has it.")
    return 0
