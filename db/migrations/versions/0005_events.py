"""The table events.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from db.migrations.steps import create_table, drop_table, id_column
from db.types import BigId, UTCDateTime, exact

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "events",
        id_column(),
        sa.Column(
            "fingerprint",
            sa.LargeBinary(32).with_variant(mysql.BINARY(32), "mysql", "mariadb"),
            nullable=False,
        ),
        sa.Column("provider_event_id", exact(100), nullable=True),
        sa.Column("delivery_id", BigId, nullable=True),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("message_id", BigId, nullable=True),
        sa.Column("address", exact(254), nullable=True),
        sa.Column("occurred_at", UTCDateTime(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("classification", sa.String(100), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("raw", sa.JSON(), nullable=False),
        sa.UniqueConstraint("fingerprint"),
        sa.UniqueConstraint("provider_event_id"),
        indexes=[("message_id",)],
    )


def downgrade() -> None:
    drop_table("events")
