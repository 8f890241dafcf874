"""The table client_lists.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, exact

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "client_lists",
        id_column(),
        sa.Column("name", exact(150), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("rule", sa.JSON(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.UniqueConstraint("name"),
    )


def downgrade() -> None:
    drop_table("client_lists")
