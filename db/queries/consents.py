"""The log of consents: what a client said about being written to, when, where, and in which words. Rows are only added.

Imports log what their files say by themselves, by the chunk (`db/queries/import_journal.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, insert, literal, select
from sqlalchemy.orm import Session

from db.dialect import utc_now
from db.models import Client, ConsentChange
from db.queries.pages import Page
from db.states import Channel, Consent

SOURCE_CHARACTERS = 60
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
    now = {name: getattr(client, name) for name in CONSENTS}
    rows = [
        {
            "client_id": client.id,
            "channel": CONSENTS[name],
            "consent": consent,
            "source": origin.source[:SOURCE_CHARACTERS],
            "wording": origin.wording,
            "given_at": origin.given_at or utc_now(),
        }
        for name, consent in now.items()
        if consent is not before[name]
    ]
    for row in rows:
        session.execute(insert(ConsentChange).values(row))


def consents_of(client: Client) -> dict[str, Consent]:
    """The client's consents by column, to compare with later."""
    return {name: getattr(client, name) or Consent.UNKNOWN for name in CONSENTS}


def log_said(session: Session, said: Iterable[SaidByAddress]) -> None:
    """Log what was said for every client who has the address now. Saying it again, in any order, adds nothing."""
    for each in sorted(said, key=lambda s: (s.channel, s.address, s.given_at)):
        address = Client.email if each.channel is Channel.EMAIL else Client.phone
        is_there = exists().where(
            ConsentChange.client_id == Client.id,
            ConsentChange.channel == each.channel,
            ConsentChange.consent == each.consent,
            ConsentChange.source == each.source[:SOURCE_CHARACTERS],
            ConsentChange.given_at == each.given_at,
        )
        rows = select(
            Client.id,
            literal(each.channel.value),
            literal(each.consent.value),
            literal(each.source[:SOURCE_CHARACTERS]),
            literal(each.given_at, ConsentChange.given_at.type),
        ).where(address == each.address, ~is_there)
        columns = ["client_id", "channel", "consent", "source", "given_at"]
        session.execute(insert(ConsentChange).from_select(columns, rows, include_defaults=False))


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
