"""The table webhook_events.

Revision: 0056, after 0055.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.models.feedback import Fingerprint
from db.types import BigId, UTCDateTime, exact

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "webhook_events",
        id_column(),
        sa.Column("fingerprint", Fingerprint, nullable=False, unique=True),
        sa.Column("delivery_id", BigId, nullable=False),
        sa.Column("source", sa.String(24), nullable=False),
        sa.Column("kind", sa.String(24), nullable=True),
        sa.Column("problem", sa.String(24), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reference", exact(40), nullable=True),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("occurred_at", UTCDateTime(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("tried_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("replayed_by", sa.String(100), nullable=True),
        indexes=[("delivery_id",), ("state", "id")],
    )


def downgrade() -> None:
    drop_table("webhook_events")
