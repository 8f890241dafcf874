"""How many clients a bulk operation left alone, since they have all the tags that a client may have.

Revision: 0047, after 0044.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0047"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column(
        "bulk_operations", sa.Column("skipped_count", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    drop_column("bulk_operations", "skipped_count")
