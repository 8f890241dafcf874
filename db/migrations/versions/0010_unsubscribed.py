"""The table unsubscribed.

Revision: 0010, after 0009.
"""

import sqlalchemy as sa

from db.base import table
from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import BigId, UTCDateTime, exact

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "unsubscribed",
        id_column(),
        sa.Column("channel", sa.String(24), nullable=False),
        sa.Column("address", exact(254), nullable=False),
        sa.Column("scope", BigId, nullable=False),
        sa.Column("reason", sa.String(24), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("effective_at", UTCDateTime(), nullable=False),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.UniqueConstraint("channel", "address", "scope", "reason", name="uq_" + table("unsubscribed")),
        indexes=[("active", "id")],
    )


def downgrade() -> None:
    drop_table("unsubscribed")
