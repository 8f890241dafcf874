"""Writes the audit log, seals it, and checks the seals."""

import getpass
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from db.engine import Database, Session
from db.queries import audit
from db.queries.audit import Audited, NewEntry
from settings import Settings
from tasks.signing import secret_key, secret_keys

SEAL_AFTER_SECONDS: Final = 3600.0
"""No request takes so long: what came of an entry is known by then, or never."""
SEAL_ENTRIES: Final = 1_000
_DONE: Final = 200


@dataclass(frozen=True)
class Verdict:
    """`broken` are the first and last ids of pieces that are not as they were sealed. `digest` is that of the newest seal: written
    down elsewhere, it shows a log that was cut at its end. `unsealed` entries are too young for a seal."""

    entries: int
    seals: int
    broken: Sequence[tuple[int, int]]
    digest: str | None
    unsealed: int


def record_on_machine(database: Database, action: str, subject: Mapping[str, Any]) -> None:
    """Something was done by the command line: by whom the operating system says it was."""
    try:
        who = getpass.getuser()
    except (OSError, KeyError):
        who = "unknown"
    record(database, NewEntry(f"machine {who}", action, subject=subject))


def record(database: Database, entry: NewEntry, *, status: int = _DONE) -> None:
    """An entry together with what came of it, for what is over already."""
    database.run(lambda session: audit.insert_done(session, entry, status))


def seal_entries(database: Database, settings: Settings) -> int:
    """Seal what is old enough, a piece at a time; returns how many entries."""
    key, sealed = secret_key(settings), 0

    def work(session: Session) -> int:
        found = audit.find_unsealed(session, older_than_seconds=SEAL_AFTER_SECONDS, limit=SEAL_ENTRIES)
        if found is None:
            return 0
        before = audit.find_last_seal(session)
        entries, digest = _digest(key, before.digest if before else "", audit.walk_entries(session, *found))
        audit.insert_seal(session, first=found[0], last=found[1], entries=entries, digest=digest)
        return entries

    while entries := database.run(work):
        sealed += entries
    return sealed


def verify_seals(database: Database, settings: Settings) -> Verdict:
    """Whether every sealed entry is as it was when it was sealed, and none is missing or new among them."""
    keys = secret_keys(settings)
    with database.reading() as session:
        seals = audit.list_seals(session)
        broken, before, after = [], "", 0
        for seal in seals:
            # From the end of the piece before: an entry between two pieces belongs to none.
            rows = list(audit.walk_entries(session, after + 1, seal.last_entry_id))
            if not any(_digest(key, before, rows) == (seal.entries, seal.digest) for key in keys):
                broken.append((seal.first_entry_id, seal.last_entry_id))
            before, after = seal.digest, seal.last_entry_id
        unsealed = audit.count_unsealed(session)
    return Verdict(sum(seal.entries for seal in seals), len(seals), broken, before or None, unsealed)


def _digest(key: bytes, before: str, rows: Iterable[Audited]) -> tuple[int, str]:
    code, count = hmac.new(key, f"audit\n{before}\n".encode(), "sha256"), 0
    for row in rows:
        code.update(orjson.dumps(_facts(row), option=orjson.OPT_SORT_KEYS) + b"\n")
        count += 1
    return count, code.hexdigest()


def _facts(row: Audited) -> list[Any]:
    entry, outcome = row
    return [
        *(entry.id, _moment(entry.at), entry.who, entry.user_id, entry.token_id, entry.action, entry.route),
        *(entry.subject, entry.address, entry.request_id),
        *((_moment(outcome.at), outcome.status, outcome.details) if outcome else ()),
    ]


def _moment(at: datetime) -> str:
    return at.isoformat()
