"""Suppressions written by the thousand: what is there is read, what differs is decided, and written, in a statement each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy.orm import Session

from db.dialect import json_arrays, looked_up, now_text, update_from, with_rows
from db.models import Unsubscribed, UnsubscribedChange
from db.queries.parameters import as_text
from db.states import Channel, SuppressionReason

_TABLE = Unsubscribed.__tablename__
_CHANGES = UnsubscribedChange.__tablename__
_AT_A_TIME = 2_000
_KEY = {"address": "VARCHAR(254)", "scope": "BIGINT"}
_VALUES = {
    "active": "BIGINT",
    "effective_at": "VARCHAR(26)",
    "source": "VARCHAR(40)",
    "evidence": "MEDIUMTEXT",
}
_NAMES = ", ".join(_VALUES)
_ON = (
    f"{_TABLE}.channel = :channel AND {_TABLE}.address = incoming.address "
    f"AND {_TABLE}.scope = incoming.scope AND {_TABLE}.reason = :reason"
)


class Change(Protocol):
    """What is written of a suppression."""

    @property
    def channel(self) -> Channel: ...
    @property
    def address(self) -> str: ...
    @property
    def reason(self) -> SuppressionReason: ...
    @property
    def effective_at(self) -> datetime: ...
    @property
    def source(self) -> str: ...
    @property
    def active(self) -> bool: ...
    @property
    def scope(self) -> int: ...
    @property
    def evidence(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class _Stored:
    active: bool
    effective_at: str


def write_changes(session: Session, changes: Iterable[Change]) -> int:
    """Store the changes; per row the latest `effective_at` wins, and of a tie the suppression. Returns how many rows changed.

    The caller holds the gate alone. A row of `unsubscribed_changes` is written for each row that is different afterwards, and
    none for what changes nothing.
    """
    changed = 0
    for channel, reason, group in _groups(changes):
        for start in range(0, len(group), _AT_A_TIME):
            changed += _write(session, channel, reason, group[start : start + _AT_A_TIME])
    return changed


def _write(session: Session, channel: Channel, reason: SuppressionReason, group: Sequence[Change]) -> int:
    given = {"channel": channel.value, "reason": reason.value}
    stored = _read(session, given, group)
    new = [each for each in group if (each.address, each.scope) not in stored]
    later = [
        each
        for each in group
        if (before := stored.get((each.address, each.scope))) is not None and _wins(each, before)
    ]
    if new:
        _insert(session, given, new)
    if later:
        _update(session, given, later)
    if new or later:
        _note(session, given, [*new, *later])
    return len(new) + len(later)


def _wins(change: Change, stored: _Stored) -> bool:
    at = _moment(change)
    return at > stored.effective_at or (at == stored.effective_at and change.active and not stored.active)


def _read(
    session: Session, given: Mapping[str, str], group: Sequence[Change]
) -> dict[tuple[str, int], _Stored]:
    source = json_arrays(session.get_bind().dialect, "rows", _KEY)
    joined = looked_up(session.get_bind().dialect, source, _TABLE, on=_ON)
    columns = ", ".join(f"{_TABLE}.{name}" for name in ("address", "scope", "active", "effective_at"))
    rows = session.execute(
        with_rows(f"SELECT {columns} FROM {joined}", "rows"),
        {**given, "rows": as_text([[each.address, each.scope] for each in group])},
    )
    return {(row[0], row[1]): _Stored(bool(row[2]), _as_moment(row[3])) for row in rows}


def _insert(session: Session, given: Mapping[str, str], group: Sequence[Change]) -> None:
    source = json_arrays(session.get_bind().dialect, "rows", {**_KEY, **_VALUES})
    picked = ", ".join((*_KEY, *_VALUES))
    statement = (
        f"INSERT INTO {_TABLE} (channel, reason, {picked}) "
        f"SELECT :channel, :reason, {picked} FROM {source} AS incoming"
    )
    session.execute(with_rows(statement, "rows"), {**given, "rows": _rows(group)})


def _update(session: Session, given: Mapping[str, str], group: Sequence[Change]) -> None:
    dialect = session.get_bind().dialect
    source = json_arrays(dialect, "rows", {**_KEY, **_VALUES})
    assignments = {name: f"incoming.{name}" for name in _VALUES} | {"updated_at": now_text(dialect)}
    statement = update_from(dialect, _TABLE, source, on=_ON, assignments=assignments)
    session.execute(with_rows(statement, "rows"), {**given, "rows": _rows(group)})


def _note(session: Session, given: Mapping[str, str], group: Sequence[Change]) -> None:
    dialect = session.get_bind().dialect
    source = json_arrays(dialect, "rows", {**_KEY, **_VALUES})
    joined = looked_up(dialect, source, _TABLE, on=_ON)
    columns = ", ".join(f"incoming.{name}" for name in _VALUES)
    statement = (
        f"INSERT INTO {_CHANGES} (suppression_id, {_NAMES}) SELECT {_TABLE}.id, {columns} FROM {joined}"
    )
    session.execute(with_rows(statement, "rows"), {**given, "rows": _rows(group)})


def _groups(
    changes: Iterable[Change],
) -> Iterator[tuple[Channel, SuppressionReason, list[Change]]]:
    """The winners by channel and reason, one for each address and scope, in an order that all writers share."""
    winners: dict[tuple[str, str, str, int], Change] = {}
    for each in changes:
        key = (each.channel.value, each.reason.value, each.address, each.scope)
        if key not in winners or _rank(each) > _rank(winners[key]):
            winners[key] = each
    groups: dict[tuple[Channel, SuppressionReason], list[Change]] = {}
    for key in sorted(winners):
        groups.setdefault((winners[key].channel, winners[key].reason), []).append(winners[key])
    for (channel, reason), group in groups.items():
        yield channel, reason, group


def _rank(change: Change) -> tuple[datetime, bool, str, str]:
    """What wins within one call; source and evidence only make it the same in any order."""
    return change.effective_at, change.active, change.source, change.evidence or ""


def _rows(group: Sequence[Change]) -> str:
    return as_text(
        [
            [each.address, each.scope, int(each.active), _moment(each), each.source[:40], each.evidence]
            for each in group
        ]
    )


def _moment(change: Change) -> str:
    return change.effective_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _as_moment(stored: Any) -> str:
    """As SQLite stores it, and as the servers' drivers give it."""
    return stored if isinstance(stored, str) else stored.strftime("%Y-%m-%d %H:%M:%S.%f")
