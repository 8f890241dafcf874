"""The table messages.

Revision: 0021, after 0020.
"""

import sqlalchemy as sa

from db.base import table
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, exact

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "messages",
        id_column(),
        sa.Column("execution_id", BigId, nullable=False),
        sa.Column("step_id", BigId, nullable=False),
        sa.Column("client_id", BigId, nullable=False),
        sa.Column("channel", sa.String(24), nullable=False),
        sa.Column("address", exact(254), nullable=True),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("reason", sa.String(200), nullable=True),
        sa.Column("feedback", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("provider_message_id", exact(100), nullable=True),
        sa.Column("parts", sa.Integer(), nullable=True),
        fk("execution_id", "flow_executions"),
        sa.UniqueConstraint(
            "client_id", "execution_id", "step_id", "channel", name="uq_" + table("messages")
        ),
        indexes=[("execution_id", "state", "id")],
    )


def downgrade() -> None:
    drop_table("messages")
