"""Which user asked for an execution.

Revision: 0089, after 0088.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column
from db.types import BigId

revision = "0089"
down_revision = "0088"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("flow_executions", sa.Column("requested_by_user_id", BigId))


def downgrade() -> None:
    drop_column("flow_executions", "requested_by_user_id")
