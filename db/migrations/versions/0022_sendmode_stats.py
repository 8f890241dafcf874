"""The table sendmode_stats.

Revision: 0022, after 0021.
"""

import sqlalchemy as sa

from db.migrations.steps import create_table, drop_table, fk
from db.types import BigId

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "sendmode_stats",
        sa.Column("execution_id", BigId, primary_key=True, autoincrement=False),
        sa.Column("sent", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("parts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("delivered", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("undelivered", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("expired", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("rejected", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("replied", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("opted_out", sa.Integer(), nullable=False, server_default="0"),
        fk("execution_id", "flow_executions", ondelete="CASCADE"),
    )


def downgrade() -> None:
    drop_table("sendmode_stats")
