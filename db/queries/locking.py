"""Rows that are to stay as they are until the transaction ends."""

from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from db.base import Base


def lock_row(session: Session, model: type[Base], *which: ColumnElement[bool] | Any) -> None:
    """Whoever wants to change the row waits until this transaction is over."""
    session.execute(select(1).select_from(model).where(*which).with_for_update())
