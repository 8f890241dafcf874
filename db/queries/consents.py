"""The log of consents: what a client said about being written to, when, where, and in which words. Rows are only added.

Imports log what their files say by themselves, by the chunk (`db/queries/import_journal.py`).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.dialect import insert_ignore, utc_now
from db.models import Client, ConsentChange
from db.queries.pages import Page
from db.states import Channel, Consent

SOURCE_CHARACTERS = 60
_LOG = ConsentChange.metadata.tables[ConsentChange.__tablename__]
CONSENTS = {"email_consent": Channel.EMAIL, "sms_consent": Channel.SMS}


@dataclass(frozen=True)
class ConsentOrigin:
    """Where a consent comes from, such as `sign-up form`, the words that were agreed to, and when; None is now."""

    source: str
    wording: str | None = None
    given_at: datetime | None = None


@dataclass(frozen=True)
class SaidByAddress:
    """What the owner of an address said, by unsubscribing for example."""

    channel: Channel
    address: str
    consent: Consent
    source: str
    given_at: datetime


def log_changes(session: Session, client: Client, before: dict[str, Consent], origin: ConsentOrigin) -> None:
    """Log the consents of the client that are not what they were `before` (by column)."""
    for name, channel in CONSENTS.items():
        consent: Consent = getattr(client, name)
        if consent is not before[name]:
            _log(session, client.id, channel, consent, origin)


def log_granted(session: Session, client_id: int, channel: Channel, origin: ConsentOrigin) -> None:
    """Log that a client agreed once more, who had agreed before."""
    _log(session, client_id, channel, Consent.GRANTED, origin)


def _log(session: Session, client_id: int, channel: Channel, consent: Consent, origin: ConsentOrigin) -> None:
    session.execute(
        insert(ConsentChange).values(
            client_id=client_id,
            channel=channel,
            consent=consent,
            source=origin.source[:SOURCE_CHARACTERS],
            wording=origin.wording,
            given_at=origin.given_at or utc_now(),
        )
    )


def consents_of(client: Client) -> dict[str, Consent]:
    """The client's consents by column, to compare with later."""
    return {name: getattr(client, name) or Consent.UNKNOWN for name in CONSENTS}


def log_said(session: Session, said: Iterable[SaidByAddress]) -> None:
    """Log what was said for every client who has the address now. Saying it again, in any order, adds nothing.

    The caller holds the gate of suppressions: nobody logs the same meanwhile. Three statements per channel, however many said it.
    """
    by_channel: dict[Channel, list[SaidByAddress]] = {}
    for each in said:
        by_channel.setdefault(each.channel, []).append(each)
    for channel, group in sorted(by_channel.items()):
        new = _lines_of(session, channel, group)
        new -= _logged(session, channel, new)
        rows = [
            {"client_id": owner, "channel": channel, "consent": consent, "source": source, "given_at": at}
            for owner, at, consent, source in sorted(new)
        ]
        if rows:
            # Ignored is also a client who was deleted since they were looked up.
            session.execute(insert_ignore(_LOG), rows)


Line = tuple[int, datetime, Consent, str]
"""Client, when, consent and source: what is logged once."""


def _lines_of(session: Session, channel: Channel, said: Sequence[SaidByAddress]) -> set[Line]:
    column = Client.email if channel is Channel.EMAIL else Client.phone
    owners: dict[str | None, list[int]] = {}
    found = session.execute(select(column, Client.id).where(column.in_({each.address for each in said})))
    for address, client_id in found:
        owners.setdefault(address, []).append(client_id)
    return {
        (client_id, each.given_at, each.consent, each.source[:SOURCE_CHARACTERS])
        for each in said
        for client_id in owners.get(each.address, ())
    }


def _logged(session: Session, channel: Channel, lines: Collection[Line]) -> set[Line]:
    if not lines:
        return set()
    change = ConsentChange
    rows = session.execute(
        select(change.client_id, change.given_at, change.consent, change.source).where(
            change.client_id.in_({line[0] for line in lines}),
            change.channel == channel,
            change.source.in_({line[3] for line in lines}),
        )
    )
    return {(row[0], row[1], row[2], row[3]) for row in rows}


def list_consents(session: Session, client_id: int, *, after: int, limit: int) -> Page[ConsentChange]:
    """What was logged of a client, newest first; the cursor is the id of the last one."""
    query = select(ConsentChange).where(ConsentChange.client_id == client_id)
    if after:
        query = query.where(ConsentChange.id < after)
    rows: Sequence[ConsentChange] = session.scalars(
        query.order_by(ConsentChange.id.desc()).limit(limit + 1)
    ).all()
    items = rows[:limit]
    return Page(items, items[-1].id if len(rows) > limit else None)
