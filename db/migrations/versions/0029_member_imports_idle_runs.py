"""Prefect runs of an import since its last progress.

Revision: 0029, after 0028.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("member_imports", sa.Column("idle_runs", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    drop_column("member_imports", "idle_runs")
