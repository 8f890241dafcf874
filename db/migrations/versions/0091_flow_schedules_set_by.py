"""Who set a schedule.

Revision: 0091, after 0090.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0091"
down_revision = "0090"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("flow_schedules", sa.Column("set_by", sa.String(100)))


def downgrade() -> None:
    drop_column("flow_schedules", "set_by")
