"""Who has been told, and who still has to be.

Revision: 0122, after 0121.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, UTCDateTime

revision = "0122"
down_revision = "0121"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "outgoing_deliveries",
        id_column(),
        sa.Column("event_id", BigId, nullable=False),
        sa.Column("endpoint_id", BigId, nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.String(200)),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("delivered_at", UTCDateTime),
        fk("event_id", "outgoing_events", ondelete="CASCADE"),
        fk("endpoint_id", "webhook_endpoints", ondelete="CASCADE"),
        sa.UniqueConstraint("event_id", "endpoint_id"),
        indexes=[("state", "due_at"), ("endpoint_id", "id")],
    )


def downgrade() -> None:
    drop_table("outgoing_deliveries")
