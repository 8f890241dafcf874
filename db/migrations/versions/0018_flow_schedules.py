"""The table flow_schedules.

Revision: 0018, after 0017.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, UTCDateTime

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "flow_schedules",
        id_column(),
        sa.Column("flow_id", BigId, nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("expression", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("starts_at", UTCDateTime(), nullable=True),
        sa.Column("missed_policy", sa.String(24), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("next_run_at", UTCDateTime(), nullable=True),
        sa.Column("last_run_at", UTCDateTime(), nullable=True),
        sa.Column("last_skipped_at", UTCDateTime(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        fk("flow_id", "flows", ondelete="CASCADE"),
        sa.UniqueConstraint("flow_id"),
        indexes=[("active", "next_run_at")],
    )


def downgrade() -> None:
    drop_table("flow_schedules")
