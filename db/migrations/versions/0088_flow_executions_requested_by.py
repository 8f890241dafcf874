"""Who asked for an execution.

Revision: 0088, after 0087.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0088"
down_revision = "0087"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("flow_executions", sa.Column("requested_by", sa.String(100)))


def downgrade() -> None:
    drop_column("flow_executions", "requested_by")
