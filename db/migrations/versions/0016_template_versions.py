"""The table template_versions.

Revision: 0016, after 0015.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, UTCDateTime

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "template_versions",
        id_column(),
        sa.Column("template_id", BigId, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(998), nullable=False),
        sa.Column("html", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False),
        sa.Column("text", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        fk("template_id", "templates", ondelete="CASCADE"),
        sa.UniqueConstraint("template_id", "version"),
    )


def downgrade() -> None:
    drop_table("template_versions")
