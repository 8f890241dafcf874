"""Since when an execution waits for somebody to work on it.

Revision: 0070, after 0060.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column
from db.types import UTCDateTime

revision = "0070"
down_revision = "0060"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("flow_executions", sa.Column("waiting_since", UTCDateTime(), nullable=True))


def downgrade() -> None:
    drop_column("flow_executions", "waiting_since")
