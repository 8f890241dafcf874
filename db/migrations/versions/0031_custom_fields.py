"""The table custom_fields.

Revision: 0031, after 0030.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, exact

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "custom_fields",
        id_column(),
        sa.Column("key", exact(64), nullable=False),
        sa.Column("label", sa.String(150), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("choices", sa.JSON(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.UniqueConstraint("key"),
    )


def downgrade() -> None:
    drop_table("custom_fields")
