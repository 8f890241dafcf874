"""Rates that all workers share: a place in time is reserved in the database before a request is made.

Each limit is a clock of its own (the "virtual scheduling" form of the generic cell rate algorithm, ITU-T I.371): it
says when the next request fits, and a reservation moves it on. Reserved places never meet, so no worker has to know
of any other, and the rate is kept by however many there are.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from db.dialect import insert_ignore, utc_now
from db.errors import NotFound
from db.models import RateLimit
from db.queries.pages import Page, page_of
from db.queries.transitions import rowcount
from db.states import Channel

PROVIDERS: Final = {Channel.EMAIL: "sendgrid", Channel.SMS: "sendmode"}


def flow_limit(flow_id: int) -> str:
    """The name of the limit of a flow."""
    return f"flow-{flow_id}"


def names_for(channel: Channel, flow_id: int) -> tuple[str, ...]:
    """The limits that hold for messages of a flow, in the order in which they are locked."""
    return tuple(sorted((PROVIDERS[channel], flow_limit(flow_id))))


@dataclass(frozen=True)
class Slot:
    """A place in time: `wait` seconds from now (of the database), `length` seconds long; single requests within it
    follow each other by `interval` seconds. It was reserved, unless `is_reserved` is False: then it is too far away,
    and nothing was written."""

    wait: float
    length: float = 0.0
    interval: float = 0.0
    is_reserved: bool = True


def reserve(
    session: Session, names: Collection[str], *, requests: int, messages: int, horizon: float
) -> Slot:
    """Reserve the first place that fits all limits of these names, if it is at most `horizon` seconds away."""
    limits = session.scalars(
        select(RateLimit)
        .where(RateLimit.name.in_(names))
        .order_by(RateLimit.name)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    now: datetime = session.execute(select(utc_now())).scalar_one()
    moments = [moment for limit in limits for moment in _earliest(limit) if moment is not None]
    begin = max([now, *moments])
    wait = (begin - now).total_seconds()
    if wait > horizon:
        return Slot(wait, is_reserved=False)
    length = interval = 0.0
    for limit in limits:
        for rate, amount in ((limit.requests_per_second, requests), (limit.messages_per_second, messages)):
            if rate:
                length, interval = max(length, amount / rate), max(interval, 1 / rate)
        if limit.requests_per_second:
            limit.next_request_at = begin + timedelta(seconds=requests / limit.requests_per_second)
        if limit.messages_per_second:
            limit.next_message_at = begin + timedelta(seconds=messages / limit.messages_per_second)
    session.flush()
    return Slot(wait, length, interval)


def hold_off(session: Session, name: str, seconds: float) -> None:
    """The provider wants to be left alone for so long: all workers keep to it, whether there is a limit or not."""
    session.execute(insert_ignore(RateLimit).values(name=name))
    now: datetime = session.execute(select(utc_now())).scalar_one()
    until = now + timedelta(seconds=seconds)
    session.execute(
        update(RateLimit)
        .where(RateLimit.name == name, or_(RateLimit.held_until.is_(None), RateLimit.held_until < until))
        .values(held_until=until)
        .execution_options(synchronize_session=False)
    )


def list_active_names(session: Session) -> frozenset[str]:
    """Names that hold anything back now: without them nothing needs to be reserved."""
    return frozenset(
        session.scalars(
            select(RateLimit.name).where(
                or_(
                    RateLimit.requests_per_second.is_not(None),
                    RateLimit.messages_per_second.is_not(None),
                    RateLimit.held_until > utc_now(),
                )
            )
        )
    )


def list_rate_limits(session: Session, *, after: int, limit: int) -> Page[RateLimit]:
    return page_of(session, select(RateLimit), RateLimit.id, after=after, limit=limit)


def list_limits_of(session: Session, channel: Channel, flow_id: int) -> Sequence[RateLimit]:
    """What holds for messages of a flow."""
    return session.scalars(
        select(RateLimit).where(RateLimit.name.in_(names_for(channel, flow_id))).order_by(RateLimit.name)
    ).all()


def upsert_rate_limit(
    session: Session,
    name: str,
    *,
    requests_per_second: float | None,
    messages_per_second: float | None,
) -> RateLimit:
    """Set the rates; they hold from the next reservation on. Places reserved so far are given up for the new rate."""
    session.execute(insert_ignore(RateLimit).values(name=name))
    session.execute(
        update(RateLimit)
        .where(RateLimit.name == name)
        .values(
            requests_per_second=requests_per_second,
            messages_per_second=messages_per_second,
            next_request_at=None,
            next_message_at=None,
        )
        .execution_options(synchronize_session=False)
    )
    return session.scalars(
        select(RateLimit).where(RateLimit.name == name).execution_options(populate_existing=True)
    ).one()


def delete_rate_limit(session: Session, name: str) -> None:
    """Nothing holds back from now on."""
    if not rowcount(session.execute(delete(RateLimit).where(RateLimit.name == name))):
        raise NotFound("rate limit", name)


def _earliest(limit: RateLimit) -> tuple[datetime | None, ...]:
    return (
        limit.held_until,
        limit.next_request_at if limit.requests_per_second else None,
        limit.next_message_at if limit.messages_per_second else None,
    )
