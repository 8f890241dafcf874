"""The tables stats_reasons and stats_minutes.

Revision: 0054, after 0053.
"""

import sqlalchemy as sa

from db.migrations.steps import create_table, drop_table, fk
from db.types import BigId, UTCDateTime, exact

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "stats_reasons",
        sa.Column("execution_id", BigId, primary_key=True, autoincrement=False),
        sa.Column("breakdown", sa.String(24), primary_key=True),
        sa.Column("reason", exact(40), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False, server_default="0"),
        fk("execution_id", "flow_executions", ondelete="CASCADE"),
    )
    create_table(
        "stats_minutes",
        sa.Column("execution_id", BigId, primary_key=True, autoincrement=False),
        sa.Column("minute", UTCDateTime(), primary_key=True),
        sa.Column("kind", exact(24), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False, server_default="0"),
        fk("execution_id", "flow_executions", ondelete="CASCADE"),
    )


def downgrade() -> None:
    drop_table("stats_minutes")
    drop_table("stats_reasons")
