"""Files of pages.

Revision: 0103, after 0102.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, blob, exact

revision = "0103"
down_revision = "0102"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "assets",
        id_column(),
        sa.Column("name", exact(60), nullable=False, unique=True),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("media_type", exact(60), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("digest", exact(64), nullable=False),
        sa.Column("content", blob(2**32 - 1), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
    )


def downgrade() -> None:
    drop_table("assets")
