"""Where an address may stand that no column of its own holds: raw webhooks, events of nobody, cells of rejected rows, what a
provider answered, rules.

Each of these is looked for in all rows, since there is no index on what strangers write: the database picks those that have
one of the texts in them, and the caller says of each whether it is meant (`joann@x.ie` has `ann@x.ie` in it).
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, delete, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.dialect import bytes_text, to_bytes_text
from db.models import (
    Batch,
    BulkOperation,
    ClientList,
    Event,
    FailedJob,
    FlowExecution,
    ImportReject,
    Message,
    WebhookDelivery,
)
from db.queries.transitions import rowcount
from db.states import BulkState

Names = Callable[[str], bool]
"""Whether a text names the person."""

ERASED_WORDS = "erased: it named a client who is gone"
_PIECE = 500
_QUIET = {"synchronize_session": False}
_PUNCTUATION = " -()./\u00a0"
_OVER = (BulkState.COMPLETED, BulkState.CANCELLED, BulkState.FAILED)


def list_delivery_ids(session: Session, texts: Sequence[str], *, after: int = 0) -> list[int]:
    """Webhooks whose raw bytes or query hold one of the texts (in lower case), with ids above `after`."""
    dialect = session.get_bind().dialect
    body, query = bytes_text(WebhookDelivery.body), func.lower(WebhookDelivery.query)
    holds = [func.instr(body, to_bytes_text(dialect, each)) > 0 for each in texts]
    holds += [func.instr(query, each) > 0 for each in texts]
    found: list[int] = []
    for first in range(after, last_delivery_id(session), _PIECE):
        piece = (WebhookDelivery.id > first, WebhookDelivery.id <= first + _PIECE)
        found += session.scalars(
            select(WebhookDelivery.id).where(*piece, or_(*holds)).order_by(WebhookDelivery.id)
        )
    return found


def last_delivery_id(session: Session) -> int:
    return session.scalar(select(func.max(WebhookDelivery.id))) or 0


def lock_deliveries(session: Session, delivery_ids: Sequence[int]) -> Sequence[WebhookDelivery]:
    """The webhooks, which nobody applies until the end of the transaction."""
    return session.scalars(
        select(WebhookDelivery)
        .where(WebhookDelivery.id.in_(delivery_ids))
        .order_by(WebhookDelivery.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def rewrite_delivery(session: Session, delivery_id: int, *, body: bytes, query: str) -> None:
    """Put what is left of a webhook in its place."""
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id)
        .values(body=body, query=query)
        .execution_options(**_QUIET)
    )


def list_references(session: Session, client_ids: Sequence[int]) -> set[str]:
    """What the messages of these clients are known by outside, `<uid of the execution>-<id>`."""
    rows = session.execute(
        select(FlowExecution.uid, Message.id)
        .join(FlowExecution, FlowExecution.id == Message.execution_id)
        .where(Message.client_id.in_(client_ids))
    )
    return {f"{uid}-{message_id}" for uid, message_id in rows}


def delete_events_of_nobody(session: Session, texts: Sequence[str], names: Names) -> int:
    """Events that belong to no message of ours, but name one of the addresses."""
    columns = (Event.address, Event.reason, Event.url, Event.raw)
    ids = _matching(session, Event.id, columns, texts, names, Event.message_id.is_(None))
    return rowcount(session.execute(delete(Event).where(Event.id.in_(ids)).execution_options(**_QUIET)))


def list_rejects_naming(
    session: Session, texts: Sequence[str], digits: Sequence[str], names: Names
) -> list[int]:
    """Ids of the rows that imports left out, or of which they left out a cell, that name one of the addresses."""
    columns = (ImportReject.value, ImportReject.message, ImportReject.cells)
    return _matching(session, ImportReject.id, columns, texts, names, digits=digits)


def blank_rejects(session: Session, reject_ids: Sequence[int]) -> None:
    """They keep their number, their column and the reason."""
    session.execute(
        update(ImportReject)
        .where(ImportReject.id.in_(reject_ids))
        .values(value="", cells=None, message=ERASED_WORDS)
        .execution_options(**_QUIET)
    )


def blank_words_of_providers(
    session: Session, client_ids: Sequence[int], texts: Sequence[str], names: Names
) -> None:
    """What went wrong in executions of these clients, where the words of it name them."""
    mine = session.scalars(
        select(Message.execution_id).where(Message.client_id.in_(client_ids)).distinct()
    ).all()
    places: list[tuple[InstrumentedAttribute[int], ColumnElement[bool], InstrumentedAttribute[Any]]] = [
        (Batch.id, Batch.execution_id.in_(mine), Batch.error),
        (FailedJob.id, FailedJob.execution_id.in_(mine), FailedJob.error),
        (FlowExecution.id, FlowExecution.id.in_(mine), FlowExecution.reason),
    ]
    for key, is_mine, column in places:
        ids = _matching(session, key, [column], texts, names, is_mine)
        session.execute(
            update(key.class_)
            .where(key.in_(ids))
            .values({column.key: ERASED_WORDS})
            .execution_options(**_QUIET)
        )


def forget_rules(session: Session, texts: Sequence[str], names: Names) -> list[int]:
    """Rules of bulk operations that are over are deleted where they name an address; returns the ids of the lists whose
    rules do, which only people can change."""
    columns = (BulkOperation.rule,)
    ids = _matching(session, BulkOperation.id, columns, texts, names, BulkOperation.state.in_(_OVER))
    session.execute(
        update(BulkOperation).where(BulkOperation.id.in_(ids)).values(rule=None).execution_options(**_QUIET)
    )
    return _matching(session, ClientList.id, [ClientList.rule], texts, names)


def _matching(
    session: Session,
    key: InstrumentedAttribute[int],
    columns: Sequence[Any],
    texts: Sequence[str],
    names: Names,
    *conditions: ColumnElement[bool],
    digits: Sequence[str] = (),
) -> list[int]:
    """Ids of the rows one of whose columns names the person."""
    written = [func.lower(cast(column, Text)) for column in columns]
    holds = [func.instr(column, each) > 0 for column in written for each in texts]
    holds += [func.instr(_bare(column), each) > 0 for column in written for each in digits]
    if not holds:
        return []
    rows = session.execute(
        select(key, *(cast(column, Text) for column in columns)).where(*conditions, or_(*holds))
    )
    return sorted(row[0] for row in rows if any(names(text) for text in row[1:] if text))


def _bare(column: ColumnElement[Any]) -> ColumnElement[Any]:
    for character in _PUNCTUATION:
        column = func.replace(column, character, "")
    return column
