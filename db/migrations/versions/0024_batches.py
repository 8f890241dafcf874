"""The table batches.

Revision: 0024, after 0023.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, UTCDateTime, exact

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "batches",
        id_column(),
        sa.Column("execution_id", BigId, nullable=False),
        sa.Column("step_id", BigId, nullable=False),
        sa.Column("first_message_id", BigId, nullable=False),
        sa.Column("last_message_id", BigId, nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_until", UTCDateTime(), nullable=True),
        sa.Column("not_before", UTCDateTime(), nullable=True),
        sa.Column("provider_message_id", exact(100), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        fk("execution_id", "flow_executions", ondelete="CASCADE"),
        fk("step_id", "execution_steps", ondelete="CASCADE"),
        indexes=[("execution_id", "state", "id")],
    )


def downgrade() -> None:
    drop_table("batches")
