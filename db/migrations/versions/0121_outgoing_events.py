"""What other systems are told: written with the fact itself.

Revision: 0121, after 0120.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import JsonDoc, UTCDateTime, exact

revision = "0121"
down_revision = "0120"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "outgoing_events",
        id_column(),
        sa.Column("uid", exact(40), nullable=False, unique=True),
        sa.Column("kind", exact(40), nullable=False),
        sa.Column("data", JsonDoc, nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
        indexes=[("created_at",)],
    )


def downgrade() -> None:
    drop_table("outgoing_events")
