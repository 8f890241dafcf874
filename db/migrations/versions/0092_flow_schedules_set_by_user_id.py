"""Which user set a schedule.

Revision: 0092, after 0091.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column
from db.types import BigId

revision = "0092"
down_revision = "0091"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("flow_schedules", sa.Column("set_by_user_id", BigId))


def downgrade() -> None:
    drop_column("flow_schedules", "set_by_user_id")
