"""Prefect runs of an execution since its last progress.

Revision: 0028, after 0027.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("flow_executions", sa.Column("idle_runs", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    drop_column("flow_executions", "idle_runs")
