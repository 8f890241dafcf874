"""Landing pages.

Revision: 0100, after 0096.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, exact

revision = "0100"
down_revision = "0096"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "pages",
        id_column(),
        sa.Column("slug", exact(100), nullable=False, unique=True),
        sa.Column("current_version", sa.Integer, nullable=False),
        sa.Column("published_version", sa.Integer),
        sa.Column("scheduled_version", sa.Integer),
        sa.Column("scheduled_at", UTCDateTime),
        sa.Column("published_at", UTCDateTime),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime, nullable=False, server_default=utc_now()),
    )


def downgrade() -> None:
    drop_table("pages")
