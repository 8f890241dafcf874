"""What a page says, version by version.

Revision: 0101, after 0100.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, JsonDoc, UTCDateTime, blob

revision = "0101"
down_revision = "0100"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "page_versions",
        id_column(),
        sa.Column("page_id", BigId, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("format", sa.String(24), nullable=False),
        sa.Column("source", blob(2**24 - 1), nullable=False),
        sa.Column("html", blob(2**24 - 1), nullable=False),
        sa.Column("seo", JsonDoc, nullable=False),
        sa.Column("form", JsonDoc),
        sa.Column("thanks", sa.Text, nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
        fk("page_id", "pages", ondelete="CASCADE"),
        sa.UniqueConstraint("page_id", "version"),
    )


def downgrade() -> None:
    drop_table("page_versions")
