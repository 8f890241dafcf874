"""The table member_import_rejects.

Revision: 0015, after 0014.
"""

import sqlalchemy as sa

from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "member_import_rejects",
        id_column(),
        sa.Column("import_id", BigId, nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        sa.Column("row_number", sa.Integer(), nullable=False),
        sa.Column("column_name", sa.String(150), nullable=False),
        sa.Column("value", sa.String(100), nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("message", sa.String(300), nullable=False),
        fk("import_id", "member_imports", ondelete="CASCADE"),
        indexes=[("import_id",)],
    )


def downgrade() -> None:
    drop_table("member_import_rejects")
