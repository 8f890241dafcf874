"""The table bulk_operations.

Revision: 0039, after 0038.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import BigId, UTCDateTime, exact

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "bulk_operations",
        id_column(),
        sa.Column("uid", exact(12), nullable=False),
        sa.Column("action", sa.String(24), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("client_ids", sa.JSON(), nullable=True),
        sa.Column("rule", sa.JSON(), nullable=True),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("last_client_id", BigId, nullable=False),
        sa.Column("until_client_id", BigId, nullable=True),
        sa.Column("matched_count", sa.Integer(), nullable=True),
        sa.Column("done_count", sa.Integer(), nullable=False),
        sa.Column("changed_count", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("idle_runs", sa.Integer(), nullable=False),
        sa.Column("prefect_flow_run_id", exact(36), nullable=True),
        sa.Column("dispatched_at", UTCDateTime(), nullable=True),
        sa.Column("heartbeat_at", UTCDateTime(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("finished_at", UTCDateTime(), nullable=True),
        sa.UniqueConstraint("uid"),
        indexes=[("state", "id")],
    )


def downgrade() -> None:
    drop_table("bulk_operations")
