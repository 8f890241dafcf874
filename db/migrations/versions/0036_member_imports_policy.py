"""What an import does with clients that exist, dry runs, and what an import can take back.

Revision: 0036, after 0035.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("member_imports", sa.Column("policy", sa.String(24), nullable=False, server_default="update"))
    add_column("member_imports", sa.Column("dry_run", sa.Boolean(), nullable=False, server_default="0"))
    add_column("member_imports", sa.Column("created_by", sa.String(100), nullable=False, server_default=""))
    add_column(
        "member_imports", sa.Column("unchanged_count", sa.Integer(), nullable=False, server_default="0")
    )
    add_column("member_imports", sa.Column("skipped_count", sa.Integer(), nullable=False, server_default="0"))
    add_column("member_imports", sa.Column("undone_count", sa.Integer(), nullable=False, server_default="0"))
    add_column("member_imports", sa.Column("new_fields", sa.JSON(), nullable=True))
    add_column("member_import_rejects", sa.Column("cells", sa.JSON(), nullable=True))


def downgrade() -> None:
    drop_column("member_import_rejects", "cells")
    drop_column("member_imports", "new_fields")
    drop_column("member_imports", "undone_count")
    drop_column("member_imports", "skipped_count")
    drop_column("member_imports", "unchanged_count")
    drop_column("member_imports", "created_by")
    drop_column("member_imports", "dry_run")
    drop_column("member_imports", "policy")
