"""The table templates.

Revision: 0009, after 0008.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, exact

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "templates",
        id_column(),
        sa.Column("name", exact(150), nullable=False),
        sa.Column("channel", sa.String(24), nullable=False),
        sa.Column("current_version", sa.Integer(), nullable=False),
        sa.Column("archived_at", UTCDateTime(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.UniqueConstraint("name"),
    )


def downgrade() -> None:
    drop_table("templates")
