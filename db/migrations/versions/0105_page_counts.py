"""Views and conversions of pages, by day and where people came from.

Revision: 0105, after 0104.
"""

import sqlalchemy as sa

from db.migrations.steps import create_table, drop_table, fk
from db.types import BigId, exact

revision = "0105"
down_revision = "0104"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "page_counts",
        sa.Column("page_id", BigId, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("source", exact(60), nullable=False),
        sa.Column("medium", exact(60), nullable=False),
        sa.Column("campaign", exact(60), nullable=False),
        sa.Column("views", BigId, nullable=False, server_default="0"),
        sa.Column("sign_ups", BigId, nullable=False, server_default="0"),
        sa.Column("conversions", BigId, nullable=False, server_default="0"),
        fk("page_id", "pages", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("page_id", "day", "source", "medium", "campaign"),
    )


def downgrade() -> None:
    drop_table("page_counts")
