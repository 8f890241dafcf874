"""What came of what somebody did: a row of its own, so that none is ever changed.

Revision: 0094, after 0093.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table
from db.types import BigId, JsonDoc, UTCDateTime

revision = "0094"
down_revision = "0093"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "audit_outcomes",
        sa.Column("entry_id", BigId, primary_key=True, autoincrement=False),
        sa.Column("at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("details", JsonDoc, nullable=False),
    )


def downgrade() -> None:
    drop_table("audit_outcomes")
