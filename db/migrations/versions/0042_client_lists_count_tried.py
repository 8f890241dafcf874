"""When somebody last tried to count a list.

Revision: 0042, after 0041.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column
from db.types import UTCDateTime

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("client_lists", sa.Column("count_tried_at", UTCDateTime(), nullable=True))


def downgrade() -> None:
    drop_column("client_lists", "count_tried_at")
