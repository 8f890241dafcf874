"""The table member_import_chunks.

Revision: 0014, after 0013.
"""

import sqlalchemy as sa

from db.migrations.steps import create_table, drop_table, fk
from db.types import BigId, blob

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "member_import_chunks",
        sa.Column("import_id", BigId, autoincrement=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False),
        sa.Column("data", blob(2**24 - 1), nullable=False),
        sa.PrimaryKeyConstraint("import_id", "ordinal"),
        fk("import_id", "member_imports", ondelete="CASCADE"),
    )


def downgrade() -> None:
    drop_table("member_import_chunks")
