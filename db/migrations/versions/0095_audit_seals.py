"""Seals over pieces of the audit log: what is changed or taken out behind the platform's back shows.

Revision: 0095, after 0094.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import BigId, UTCDateTime, exact

revision = "0095"
down_revision = "0094"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "audit_seals",
        id_column(),
        sa.Column("first_entry_id", BigId, nullable=False),
        sa.Column("last_entry_id", BigId, nullable=False, unique=True),
        sa.Column("entries", sa.Integer, nullable=False),
        sa.Column("digest", exact(64), nullable=False),
        sa.Column("sealed_at", UTCDateTime, nullable=False, server_default=utc_now()),
    )


def downgrade() -> None:
    drop_table("audit_seals")
