"""The table member_import_changes.

Revision: 0035, after 0034.
"""

import sqlalchemy as sa

from db.migrations.steps import create_table, drop_table, fk
from db.types import BigId

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "member_import_changes",
        sa.Column("import_id", BigId, autoincrement=False),
        sa.Column("client_id", BigId, autoincrement=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("import_id", "client_id"),
        fk("import_id", "member_imports", ondelete="CASCADE"),
        fk("client_id", "clients", ondelete="CASCADE"),
        indexes=[("client_id",)],
    )


def downgrade() -> None:
    drop_table("member_import_changes")
