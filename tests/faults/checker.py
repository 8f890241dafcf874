"""Joins what the provider took (the sandbox's journal) to what we say of it (the ledger), and counts what is wrong.

Independent on purpose: SQL of its own over both databases, and nothing imported from the product. What the product
believes about itself is what is being tested.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, create_engine, text

OVER: Final = ("completed", "settling")
_NOT_SENT: Final = ("pending", "excluded", "failed", "cancelled")
_STATES: Final = ("pending", "excluded", "sending", "accepted", "failed", "unknown", "cancelled")
# Bit numbers of `messages.feedback`, in the order of the architecture's description, and the columns that count them.
_BITS: Final = (
    *("processed", "deferred", "delivered", "bounced", "blocked", "dropped", "opened", "machine_opened"),
    *("clicked", "complained", "unsubscribed", "undelivered", "expired", "rejected", "replied", "opted_out"),
)
_STATS: Final = _BITS[:11]
_SMS_STATS: Final = ("delivered", *_BITS[11:])


@dataclass(frozen=True)
class Question:
    """What is to be checked.

    `intended`: clients of the list. `suppressed`: address -> the database's clock (epoch seconds) after its
    suppression had been committed. `once_unknown`: messages that somebody saw in the state `unknown`. `commits`: logs of what workers committed as `sending` (see `hooks.CommitLog`);
    None where no worker keeps one. `bound`: the most messages that the fired faults may have left in doubt.
    """

    database_url: str
    table_prefix: str
    journal: Path
    execution_id: int
    intended: int
    bound: int
    once_unknown: frozenset[int] = frozenset()
    suppressed: Mapping[str, float] = field(default_factory=dict)
    commits: Path | None = None


@dataclass(frozen=True)
class Findings:
    """`recipients` are those that the snapshot did not exclude; `accepted` is the journal's count of messages.

    `oldest_unknown` in seconds. `resolved` messages were unknown once and are accepted: evidence came.
    """

    state: str
    recipients: int
    accepted: int
    failed: int
    excluded: int
    duplicates: int
    lost: int
    unknown: int
    oldest_unknown: float
    bound: int
    resolved: int
    unsubscribed: int
    sent_after_unsubscribe: int
    violations: tuple[str, ...]


@dataclass(frozen=True)
class _Ledger:
    uid: str
    state: str
    messages: Mapping[int, Mapping[str, Any]]
    batches: Sequence[Mapping[str, Any]]
    stats: Mapping[str, int]
    sms: Mapping[str, int]
    now: float


@dataclass(frozen=True)
class _Entry:
    accepted_at: float
    reference: str
    address: str

    @property
    def message_id(self) -> int:
        return int(self.reference.rpartition("-")[2])


def check(question: Question) -> Findings:
    """Read both sides once and compare them."""
    ledger = _read_ledger(question)
    entries = _read_journal(question.journal, ledger.uid)
    times = Counter(entry.message_id for entry in entries)
    duplicates = sum(count - 1 for count in times.values())
    lost = list(_lost(ledger, entries))
    late = list(_sent_after_unsubscribe(question, entries))
    states = Counter(message["state"] for message in ledger.messages.values())
    unknown = states["unknown"]
    resolved = sum(ledger.messages[key]["state"] == "accepted" for key in question.once_unknown)
    in_doubt = question.once_unknown | {
        key for key, message in ledger.messages.items() if message["state"] == "unknown"
    }
    violations = [*_complaints("lost", lost), *_complaints("sent after unsubscribe", late)]
    if duplicates:
        twice = [f"message {key} {count} times" for key, count in times.items() if count > 1]
        violations += _complaints("duplicates", twice)
    violations += _wrong_state(question, ledger, states)
    violations += _wrong_stats(ledger)
    violations += _unresolved(ledger, times)
    violations += _without_commit(question, entries)
    if len(in_doubt) > question.bound:
        violations.append(f"{len(in_doubt)} messages were in doubt, {question.bound} may have been")
    return Findings(
        state=ledger.state,
        recipients=sum(batch["size"] for batch in ledger.batches),
        accepted=len(times),
        failed=states["failed"],
        excluded=states["excluded"],
        duplicates=duplicates,
        lost=len(lost),
        unknown=unknown,
        oldest_unknown=_oldest_unknown(ledger),
        bound=question.bound,
        resolved=resolved,
        unsubscribed=len(question.suppressed),
        sent_after_unsubscribe=len(late),
        violations=tuple(violations),
    )


def _lost(ledger: _Ledger, entries: Sequence[_Entry]) -> Iterator[str]:
    """Messages about which the two sides tell different stories."""
    taken = {entry.message_id for entry in entries}
    for entry in entries:
        message = ledger.messages.get(entry.message_id)
        if message is None:
            yield f"{entry.reference} was taken and is not in the ledger"
        elif message["address"] != entry.address:
            yield f"message {message['id']} went to another address"
        elif message["state"] in _NOT_SENT:
            yield f"message {message['id']} was taken and is {message['state']}"
    for key, message in ledger.messages.items():
        if message["state"] == "accepted" and key not in taken:
            yield f"message {key} is accepted and was never taken"
        elif message["state"] not in _STATES or (message["state"] == "pending" and ledger.state in OVER):
            yield f"message {key} is {message['state'] or 'in no state'} in a {ledger.state} execution"


def _sent_after_unsubscribe(question: Question, entries: Sequence[_Entry]) -> Iterator[str]:
    """A suppression that was committed before the transaction began which committed `sending` with its address."""
    began = {key: when for when, keys in _read_commits(question.commits) for key in keys}
    for entry in entries:
        suppressed_at = question.suppressed.get(entry.address)
        if suppressed_at is None:
            continue
        if suppressed_at < began.get(entry.message_id, 0.0):
            yield f"message {entry.message_id}, {began[entry.message_id] - suppressed_at:.3f} s later"


def _without_commit(question: Question, entries: Sequence[_Entry]) -> list[str]:
    """Nothing may reach the provider that was not committed as `sending` before."""
    if question.commits is None:
        return []
    committed = {key for _, keys in _read_commits(question.commits) for key in keys}
    missing = [f"message {entry.message_id}" for entry in entries if entry.message_id not in committed]
    return _complaints("sent without a commit", missing)


def _wrong_state(question: Question, ledger: _Ledger, states: Mapping[str, int]) -> list[str]:
    found = []
    if len(ledger.messages) != question.intended:
        found.append(f"the list has {question.intended} clients, the snapshot {len(ledger.messages)}")
    if ledger.state not in OVER:
        found.append(f"the execution is stuck: {ledger.state}")
    if ledger.state == "completed" and states["unknown"]:
        found.append("the execution is completed with unknown messages")
    if ledger.state == "settling" and not states["unknown"]:
        found.append("the execution waits for evidence that it has")
    if still := [f"batch {batch['id']} {batch['state']}" for batch in ledger.batches if _is_open(batch)]:
        found += _complaints("still open", still)
    return found


def _wrong_stats(ledger: _Ledger) -> list[str]:
    """`stats` beside a recount of the messages."""
    messages = ledger.messages.values()
    states = Counter("sending" if _is_sending(ledger, each) else each["state"] for each in messages)
    counted = {"intended": len(messages), **{name: states[name] for name in _STATES}}
    counted |= {name: sum(_has(each, name) for each in messages) for name in _STATS}
    sent = [each for each in messages if each["channel"] == "sms" and each["state"] == "accepted"]
    sms = {"sent": len(sent), "parts": sum(each["parts"] or 0 for each in sent)}
    sms |= {
        name: sum(_has(each, name) for each in messages if each["channel"] == "sms") for name in _SMS_STATS
    }
    wrong = [
        f"{table}.{name} is {stored.get(name)}, counted {count}"
        for table, stored, fresh in (("stats", ledger.stats, counted), ("sendmode_stats", ledger.sms, sms))
        for name, count in fresh.items()
        if stored.get(name) != count
    ]
    return _complaints("stats differ from a recount", wrong)


def _unresolved(ledger: _Ledger, times: Mapping[int, int]) -> list[str]:
    """Every taken message has had an event: none of them may be unknown once all events are applied."""
    unknown = [key for key, message in ledger.messages.items() if message["state"] == "unknown"]
    return _complaints("unknown in spite of evidence", [f"message {key}" for key in unknown if key in times])


def _is_sending(ledger: _Ledger, message: Mapping[str, Any]) -> bool:
    if message["state"] != "pending":
        return False
    batch = _batch_of(ledger, message["id"])
    return batch is not None and batch["state"] == "sending"


def _batch_of(ledger: _Ledger, message_id: int) -> Mapping[str, Any] | None:
    holding = (
        each for each in ledger.batches if each["first_message_id"] <= message_id <= each["last_message_id"]
    )
    return next(holding, None)


def _is_open(batch: Mapping[str, Any]) -> bool:
    return batch["state"] in ("pending", "claimed", "sending")


def _has(message: Mapping[str, Any], bit: str) -> bool:
    return bool(message["feedback"] >> _BITS.index(bit) & 1)


def _oldest_unknown(ledger: _Ledger) -> float:
    unknown = {key for key, message in ledger.messages.items() if message["state"] == "unknown"}
    since = [
        batch["since"]
        for batch in ledger.batches
        if any(batch["first_message_id"] <= key <= batch["last_message_id"] for key in unknown)
    ]
    return max((ledger.now - moment for moment in since), default=0.0)


def _complaints(what: str, cases: Sequence[str]) -> list[str]:
    """One line for all cases of a kind; none when there are none."""
    if not cases:
        return []
    more = f", and {len(cases) - 3} more" if len(cases) > 3 else ""
    return [f"{what}: {len(cases)} ({'; '.join(cases[:3])}{more})"]


def _read_ledger(question: Question) -> _Ledger:
    engine = create_engine(question.database_url)
    try:
        with engine.connect() as connection:
            return _ledger_of(connection, question)
    finally:
        engine.dispose()


def _ledger_of(connection: Connection, question: Question) -> _Ledger:
    def rows(statement: str) -> list[dict[str, Any]]:
        found = connection.execute(
            text(statement.replace("@", question.table_prefix)), {"id": question.execution_id}
        )
        return [dict(row) for row in found.mappings()]

    [execution] = rows(
        "SELECT uid, state, UNIX_TIMESTAMP(SYSDATE(6)) AS now FROM @flow_executions WHERE id = :id"
    )
    messages = rows(
        "SELECT id, channel, address, state, feedback, parts FROM @messages"
        " WHERE execution_id = :id ORDER BY id"
    )
    batches = rows(
        "SELECT id, first_message_id, last_message_id, size, state,"
        # `updated_at` is in UTC, whatever the time zone of this session.
        " TIMESTAMPDIFF(MICROSECOND, '1970-01-01', updated_at) / 1000000 AS since"
        " FROM @batches WHERE execution_id = :id ORDER BY id"
    )
    return _Ledger(
        uid=execution["uid"],
        state=execution["state"],
        messages={message["id"]: message for message in messages},
        batches=[{**batch, "since": float(batch["since"])} for batch in batches],
        stats=next(iter(rows("SELECT * FROM @stats WHERE execution_id = :id")), {}),
        sms=next(iter(rows("SELECT * FROM @sendmode_stats WHERE execution_id = :id")), {}),
        now=float(execution["now"]),
    )


def _read_journal(path: Path, uid: str) -> list[_Entry]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as journal:
        rows = journal.execute(
            "SELECT accepted_at, reference, address FROM accepted WHERE uid = ? ORDER BY id", (uid,)
        ).fetchall()
    return [_Entry(*row) for row in rows]


def count_taken(path: Path, uid: str) -> int:
    """Messages of the execution that the provider has taken until now."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as journal:
        return int(journal.execute("SELECT count(*) FROM accepted WHERE uid = ?", (uid,)).fetchone()[0])


def list_references(path: Path, uid: str) -> dict[str, str]:
    """The reference that each address got in a message of the execution."""
    return {entry.address: entry.reference for entry in _read_journal(path, uid)}


def _read_commits(folder: Path | None) -> list[tuple[float, list[int]]]:
    """(database's clock, message ids) of all transactions that were to commit `sending`, in their order."""
    if folder is None:
        return []
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    found = [(entry["began"], entry["ids"]) for entry in map(json.loads, lines)]
    return sorted(found, key=lambda each: each[0])
