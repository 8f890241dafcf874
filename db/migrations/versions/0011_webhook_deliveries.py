"""The table webhook_deliveries.

Revision: 0011, after 0010.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, blob

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "webhook_deliveries",
        id_column(),
        sa.Column("source", sa.String(24), nullable=False),
        sa.Column("content_type", sa.String(100), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("body", blob(2**24 - 1), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("received_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("applied_at", UTCDateTime(), nullable=True),
        indexes=[("state", "id")],
    )


def downgrade() -> None:
    drop_table("webhook_deliveries")
