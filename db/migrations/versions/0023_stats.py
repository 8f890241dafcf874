"""The table stats.

Revision: 0023, after 0022.
"""

import sqlalchemy as sa

from db.migrations.steps import create_table, drop_table, fk
from db.types import BigId

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "stats",
        sa.Column("execution_id", BigId, primary_key=True, autoincrement=False),
        sa.Column("intended", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("pending", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("excluded", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("sending", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("accepted", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("unknown", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("cancelled", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("processed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("deferred", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("delivered", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("bounced", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("blocked", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("dropped", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("opened", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("machine_opened", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("clicked", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("complained", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("unsubscribed", sa.Integer(), nullable=False, server_default="0"),
        fk("execution_id", "flow_executions", ondelete="CASCADE"),
    )


def downgrade() -> None:
    drop_table("stats")
