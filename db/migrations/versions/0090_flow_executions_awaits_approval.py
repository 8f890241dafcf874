"""A large execution waits for a second person.

Revision: 0090, after 0089.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0090"
down_revision = "0089"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column(
        "flow_executions", sa.Column("awaits_approval", sa.Boolean(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    drop_column("flow_executions", "awaits_approval")
