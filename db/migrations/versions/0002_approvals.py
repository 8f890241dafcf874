"""The table approvals.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import BigId, UTCDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "approvals",
        id_column(),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("execution_id", BigId, nullable=True),
        sa.Column("approved_by", sa.String(100), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("approved_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        indexes=[("execution_id",)],
    )


def downgrade() -> None:
    drop_table("approvals")
