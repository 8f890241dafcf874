"""The table rate_limits.

Revision: 0030, after 0029.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, exact

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "rate_limits",
        id_column(),
        sa.Column("name", exact(40), nullable=False, unique=True),
        sa.Column("requests_per_second", sa.Double(), nullable=True),
        sa.Column("messages_per_second", sa.Double(), nullable=True),
        sa.Column("next_request_at", UTCDateTime(), nullable=True),
        sa.Column("next_message_at", UTCDateTime(), nullable=True),
        sa.Column("held_until", UTCDateTime(), nullable=True),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
    )


def downgrade() -> None:
    drop_table("rate_limits")
