"""What an import wrote, beside what it wrote over: a value that somebody changed since is not taken back.

Revision: 0049, after 0047.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0049"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("member_import_changes", sa.Column("after", sa.JSON(), nullable=True))


def downgrade() -> None:
    drop_column("member_import_changes", "after")
