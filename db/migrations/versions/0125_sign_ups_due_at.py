"""A mail that the provider could not take waits longer each time.

Revision: 0125, after 0124.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column
from db.types import UTCDateTime

revision = "0125"
down_revision = "0124"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("sign_ups", sa.Column("due_at", UTCDateTime))


def downgrade() -> None:
    drop_column("sign_ups", "due_at")
