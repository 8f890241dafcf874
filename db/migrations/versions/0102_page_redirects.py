"""Slugs that a page had before.

Revision: 0102, after 0101.
"""

import sqlalchemy as sa

from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, exact

revision = "0102"
down_revision = "0101"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "page_redirects",
        id_column(),
        sa.Column("slug", exact(100), nullable=False, unique=True),
        sa.Column("page_id", BigId, nullable=False),
        fk("page_id", "pages", ondelete="CASCADE"),
        indexes=[("page_id",)],
    )


def downgrade() -> None:
    drop_table("page_redirects")
