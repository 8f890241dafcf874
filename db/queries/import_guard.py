"""What an import must not do, whatever its file says: bring back people who were erased, or write to those who said no."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.dialect import json_arrays, looked_up
from db.models import Unsubscribed
from db.models.suppressions import EVERYWHERE
from db.queries.parameters import packed
from db.queries.upserts import StoredClient
from db.states import Channel, Consent, ImportPolicy, SuppressionReason

Row = Mapping[str, Any]
ByErasedAddress = Callable[[Channel, Iterable[str]], dict[str, str]]
"""The addresses by what stands in the suppressions in their place (`tasks.erasure.by_erased_address`)."""

_UNSUBSCRIBED = Unsubscribed.__tablename__
_CHANNELS = ((Channel.EMAIL, "email", "email_consent"), (Channel.SMS, "phone", "sms_consent"))


@dataclass
class Guarded:
    """Rows that may be imported. `erased` are row numbers of those that may not, the others name cells that were left out:
    `without_phone` row numbers, `without_spare` (row number, custom field), `suppressed` (row number, consent)."""

    rows: list[Row] = field(default_factory=list)
    erased: list[Row] = field(default_factory=list)
    without_phone: list[int] = field(default_factory=list)
    without_spare: list[tuple[int, str]] = field(default_factory=list)
    suppressed: list[tuple[int, str]] = field(default_factory=list)


def guard_rows(
    session: Session,
    rows: Sequence[Row],
    stored: Mapping[str, StoredClient],
    *,
    policy: ImportPolicy,
    by_erased: ByErasedAddress | None,
    spare_fields: Collection[str],
) -> Guarded:
    """Leave out of the rows what their file has no say in. Called when the stored clients are locked: who is erased by somebody
    else now was either erased before, which is seen here, or will be after the import's transaction."""
    done = Guarded(rows=list(rows))
    if by_erased is not None and _anybody_erased(session):
        _leave_out_erased(session, done, by_erased, spare_fields)
    for channel, address, consent in _CHANNELS:
        _keep_suppressed(session, done, stored, policy, channel, address, consent)
    return done


def _anybody_erased(session: Session) -> bool:
    # A range of the unique key, since hashes of both channels begin alike.
    for channel in Channel:
        query = select(Unsubscribed.id).where(
            Unsubscribed.channel == channel,
            Unsubscribed.address.like("erased:%"),
            Unsubscribed.reason == SuppressionReason.ERASED,
        )
        if session.scalars(query.limit(1)).first() is not None:
            return True
    return False


def _leave_out_erased(
    session: Session, done: Guarded, by_erased: ByErasedAddress, spare_fields: Collection[str]
) -> None:
    spare = [
        (row, key, _plain(row["custom_fields"][key]))
        for row in (done.rows if spare_fields else ())
        for key in spare_fields
        if key in (row.get("custom_fields") or {})
    ]
    emails = {row["email"] for row in done.rows if row.get("email")}
    phones = {row["phone"] for row in done.rows if row.get("phone")}
    emails |= {address for _, _, address in spare if "@" in address}
    phones |= {address for _, _, address in spare if "@" not in address}
    gone = _find_erased(session, by_erased(Channel.EMAIL, emails))
    gone |= _find_erased(session, by_erased(Channel.SMS, phones))
    if not gone:
        return
    rows, done.rows = done.rows, []
    for row in rows:
        if row["identity_key"] in gone:
            done.erased.append(row)
            continue
        kept = dict(row)
        if row.get("phone") in gone:
            kept["phone"] = None
            done.without_phone.append(row["row_number"])
        done.rows.append(_without_spare(kept, spare_fields, gone, done))


def _without_spare(row: dict[str, Any], keys: Collection[str], gone: set[str], done: Guarded) -> Row:
    custom = row.get("custom_fields") or {}
    found = [key for key in keys if key in custom and _plain(custom[key]) in gone]
    done.without_spare.extend((row["row_number"], key) for key in found)
    return row | {"custom_fields": {key: custom[key] for key in custom if key not in found}} if found else row


def _plain(spare: str) -> str:
    return spare.partition(";ext=")[0]


def _find_erased(session: Session, by_hash: Mapping[str, str]) -> set[str]:
    return {
        by_hash[found]
        for found in _find(session, by_hash, "reason = :reason", reason=SuppressionReason.ERASED.value)
    }


def _keep_suppressed(
    session: Session,
    done: Guarded,
    stored: Mapping[str, StoredClient],
    policy: ImportPolicy,
    channel: Channel,
    address: str,
    consent: str,
) -> None:
    """Unsay consents that would be raised for an address that is suppressed everywhere."""
    raised: dict[int, str] = {}
    for position, row in enumerate(done.rows):
        if row.get(consent) != Consent.GRANTED:
            continue
        client = stored.get(row["identity_key"])
        if client is not None and (policy is ImportPolicy.SKIP or client.columns[consent] != Consent.UNKNOWN):
            continue
        found = row.get(address) or (client.columns[address] if client else None)
        if found:
            raised[position] = found
    if not raised:
        return
    suppressed = _find_suppressed(session, channel, set(raised.values()))
    for position, found in raised.items():
        if found in suppressed:
            row = done.rows[position]
            done.rows[position] = {**row, consent: Consent.UNKNOWN}
            done.suppressed.append((row["row_number"], consent))


def _find_suppressed(session: Session, channel: Channel, addresses: Collection[str]) -> set[str]:
    condition = "channel = :channel AND scope = :scope AND active = :active"
    return _find(session, addresses, condition, channel=channel.value, scope=EVERYWHERE, active=True)


def _find(session: Session, addresses: Iterable[str], condition: str, **values: Any) -> set[str]:
    """Those of the addresses that the suppressions have under a condition."""
    dialect = session.get_bind().dialect
    source = json_arrays(dialect, "addresses", {"wanted": "VARCHAR(254)"})
    channels = ", ".join(f"'{channel}'" for channel in Channel)
    on = f"{_UNSUBSCRIBED}.address = incoming.wanted AND {_UNSUBSCRIBED}.channel IN ({channels})"
    joined = looked_up(dialect, source, _UNSUBSCRIBED, on=on)
    statement = text(f"SELECT incoming.wanted FROM {joined} WHERE {condition}")
    found: set[str] = set()
    for group in packed((address,) for address in sorted(addresses)):
        found.update(session.scalars(statement, {"addresses": group, **values}))
    return found
