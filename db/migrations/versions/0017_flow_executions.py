"""The table flow_executions.

Revision: 0017, after 0016.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, UTCDateTime, exact

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "flow_executions",
        id_column(),
        sa.Column("uid", exact(12), nullable=False),
        sa.Column("flow_id", BigId, nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("trigger_key", exact(64), nullable=True),
        sa.Column("scheduled_for", UTCDateTime(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("prefect_flow_run_id", exact(36), nullable=True),
        sa.Column("dispatched_at", UTCDateTime(), nullable=True),
        sa.Column("heartbeat_at", UTCDateTime(), nullable=True),
        sa.Column("started_at", UTCDateTime(), nullable=True),
        sa.Column("finished_at", UTCDateTime(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        fk("flow_id", "flows"),
        sa.UniqueConstraint("flow_id", "trigger_key"),
        sa.UniqueConstraint("uid"),
        indexes=[("state", "id")],
    )


def downgrade() -> None:
    drop_table("flow_executions")
