"""How many members a list had when they were counted last.

Revision: 0040, after 0039.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column
from db.types import UTCDateTime

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("client_lists", sa.Column("member_count", sa.Integer(), nullable=True))
    add_column("client_lists", sa.Column("counted_at", UTCDateTime(), nullable=True))
    add_column("client_lists", sa.Column("count_seconds", sa.Double(), nullable=True))


def downgrade() -> None:
    drop_column("client_lists", "count_seconds")
    drop_column("client_lists", "counted_at")
    drop_column("client_lists", "member_count")
