"""Who did what when.

Revision: 0093, after 0092.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import BigId, JsonDoc, UTCDateTime, exact

revision = "0093"
down_revision = "0092"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "audit_entries",
        id_column(),
        sa.Column("at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("who", sa.String(120), nullable=False),
        sa.Column("user_id", BigId),
        sa.Column("token_id", BigId),
        sa.Column("action", exact(40), nullable=False),
        sa.Column("route", exact(150)),
        sa.Column("subject", JsonDoc, nullable=False),
        sa.Column("address", exact(45)),
        sa.Column("request_id", exact(64)),
        indexes=[("action", "id"), ("user_id", "id")],
    )


def downgrade() -> None:
    drop_table("audit_entries")
