"""The table api_tokens.

Revision: 0001.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, exact

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "api_tokens",
        id_column(),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("token_hash", exact(64), nullable=False),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("last_used_at", UTCDateTime(), nullable=True),
        sa.Column("revoked_at", UTCDateTime(), nullable=True),
        sa.UniqueConstraint("token_hash"),
    )


def downgrade() -> None:
    drop_table("api_tokens")
