"""Messages that bounced at all, hard or soft: what a bounce rate is made of counts no message twice.

Revision: 0060, after 0058.
"""

import sqlalchemy as sa
from alembic import op

from db.base import table
from db.migrations.steps import add_column, drop_column

revision = "0060"
down_revision = "0058"
branch_labels = None
depends_on = None

_STATS = sa.table(table("stats"), sa.column("execution_id"), sa.column("bounced_by_any"))
_MESSAGES = sa.table(table("messages"), sa.column("execution_id"), sa.column("feedback"))
_BOUNCED_OR_BLOCKED = 8 | 16


def upgrade() -> None:
    add_column("stats", sa.Column("bounced_by_any", sa.Integer(), nullable=False, server_default="0"))
    has = _MESSAGES.c.feedback.op("&")(sa.literal_column(str(_BOUNCED_OR_BLOCKED))) != 0
    count = (
        sa.select(sa.func.count())
        .select_from(_MESSAGES)
        .where(_MESSAGES.c.execution_id == _STATS.c.execution_id, has)
        .scalar_subquery()
    )
    op.execute(sa.update(_STATS).values(bounced_by_any=count))


def downgrade() -> None:
    drop_column("stats", "bounced_by_any")
