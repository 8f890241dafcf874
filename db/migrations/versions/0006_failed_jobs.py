"""The table failed_jobs.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import BigId, UTCDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "failed_jobs",
        id_column(),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("execution_id", BigId, nullable=True),
        sa.Column("subject", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("failed_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("retried_at", UTCDateTime(), nullable=True),
        indexes=[("execution_id",), ("state", "id")],
    )


def downgrade() -> None:
    drop_table("failed_jobs")
