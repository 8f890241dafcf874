"""What the new counts are for the executions there are.

Revision: 0055, after 0054.
"""

import sqlalchemy as sa
from alembic import op

from db.base import table
from db.dialect import to_minute
from db.reasons import bounce_class, drop_reason

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None

_EVENTS = sa.table(
    table("events"),
    *(sa.column(name) for name in ("id", "execution_id", "kind", "classification", "reason", "occurred_at")),
)
_MESSAGES = sa.table(
    table("messages"),
    *(sa.column(name) for name in ("execution_id", "special_state", "reason", "feedback")),
)
_EXECUTIONS = sa.table(table("flow_executions"), sa.column("id"), sa.column("created_at"))
_STATS = sa.table(
    table("stats"),
    *(
        sa.column(name)
        for name in (
            "execution_id",
            "accepted",
            "opened_by_any",
            "clicked_by_any",
            "opens",
            "machine_opens",
            "clicks",
        )
    ),
)
_REASONS = sa.table(
    table("stats_reasons"),
    *(sa.column(name) for name in ("execution_id", "breakdown", "reason", "count")),
)
_MINUTES = sa.table(
    table("stats_minutes"), *(sa.column(name) for name in ("execution_id", "minute", "kind", "count"))
)
_BREAKDOWNS = {"bounce": "bounced", "blocked": "blocked", "dropped": "dropped"}
_OPENED, _CLICKED = 64 | 128, 256


def upgrade() -> None:
    # Cut and run again, it begins anew.
    op.execute(sa.delete(_REASONS))
    op.execute(sa.delete(_MINUTES))
    _classify()
    _count_engagement()
    _count_reasons()
    _count_minutes()


def downgrade() -> None:
    op.execute(sa.delete(_REASONS))
    op.execute(sa.delete(_MINUTES))


def _classify() -> None:
    """Bounces, blocks and drops have a word that can be counted where the provider's words were."""
    group = (_EVENTS.c.kind, _EVENTS.c.classification, _EVENTS.c.reason)
    dropped = _EVENTS.c.kind == "dropped"
    is_reason = sa.case((dropped, _EVENTS.c.reason), else_=None)
    rows = (
        op.get_bind()
        .execute(
            sa.select(_EVENTS.c.kind, _EVENTS.c.classification, is_reason)
            .where(_EVENTS.c.kind.in_(list(_BREAKDOWNS)))
            .distinct()
        )
        .all()
    )
    for kind, classification, reason in rows:
        word = drop_reason(reason) if kind == "dropped" else bounce_class(classification)
        which = [_same(group[0], kind), _same(group[1], classification)]
        which += [_same(group[2], reason)] if kind == "dropped" else []
        op.execute(sa.update(_EVENTS).where(*which).values(classification=word.value))


def _same(column: sa.ColumnClause[object], value: str | None) -> sa.ColumnElement[bool]:
    return column.is_(None) if value is None else column == value


def _count_engagement() -> None:
    def messages(bits: int) -> sa.ScalarSelect[int]:
        has = _MESSAGES.c.feedback.op("&")(sa.literal_column(str(bits))) != 0
        mine = _MESSAGES.c.execution_id == _STATS.c.execution_id
        return sa.select(sa.func.count()).select_from(_MESSAGES).where(mine, has).scalar_subquery()

    def events(kind: str) -> sa.ScalarSelect[int]:
        mine = (_EVENTS.c.execution_id == _STATS.c.execution_id, _EVENTS.c.kind == kind)
        return sa.select(sa.func.count()).select_from(_EVENTS).where(*mine).scalar_subquery()

    op.execute(
        sa.update(_STATS).values(
            opened_by_any=messages(_OPENED),
            clicked_by_any=messages(_CLICKED),
            opens=events("open"),
            machine_opens=events("machine_open"),
            clicks=events("click"),
        )
    )


def _count_reasons() -> None:
    columns = ["execution_id", "breakdown", "reason", "count"]
    excluded = (
        sa.select(
            _MESSAGES.c.execution_id,
            sa.literal("excluded"),
            sa.func.coalesce(_MESSAGES.c.reason, ""),
            sa.func.count(),
        )
        .where(_MESSAGES.c.special_state == "excluded")
        .group_by(_MESSAGES.c.execution_id, sa.func.coalesce(_MESSAGES.c.reason, ""))
    )
    op.execute(sa.insert(_REASONS).from_select(columns, excluded))
    for kind, breakdown in _BREAKDOWNS.items():
        told = (
            sa.select(
                _EVENTS.c.execution_id, sa.literal(breakdown), _EVENTS.c.classification, sa.func.count()
            )
            .where(_EVENTS.c.kind == kind, _EVENTS.c.execution_id.is_not(None))
            .group_by(_EVENTS.c.execution_id, _EVENTS.c.classification)
        )
        op.execute(sa.insert(_REASONS).from_select(columns, told))


def _count_minutes() -> None:
    """When messages were accepted is not known any more: all of them count in the minute the execution began."""
    columns = ["execution_id", "minute", "kind", "count"]
    minute = to_minute(_EVENTS.c.occurred_at)
    events = (
        sa.select(_EVENTS.c.execution_id, minute, _EVENTS.c.kind, sa.func.count())
        .where(_EVENTS.c.execution_id.is_not(None))
        .group_by(_EVENTS.c.execution_id, minute, _EVENTS.c.kind)
    )
    op.execute(sa.insert(_MINUTES).from_select(columns, events))
    accepted = (
        sa.select(
            _STATS.c.execution_id,
            to_minute(_EXECUTIONS.c.created_at),
            sa.literal("accepted"),
            _STATS.c.accepted,
        )
        .join(_EXECUTIONS, _EXECUTIONS.c.id == _STATS.c.execution_id)
        .where(_STATS.c.accepted > 0)
    )
    op.execute(sa.insert(_MINUTES).from_select(columns, accepted))
