"""The table client_merges.

Revision: 0038, after 0037.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk
from db.types import BigId, UTCDateTime

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "client_merges",
        sa.Column("merged_id", BigId, autoincrement=False),
        sa.Column("client_id", BigId, nullable=False),
        sa.Column("merged_by", sa.String(100), nullable=False),
        sa.Column("merged_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.PrimaryKeyConstraint("merged_id"),
        fk("client_id", "clients", ondelete="CASCADE"),
        indexes=[("client_id",)],
    )


def downgrade() -> None:
    drop_table("client_merges")
