"""Requests that may be sent again without being done again.

Revision: 0096, after 0095.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import BigId, UTCDateTime, blob, exact

revision = "0096"
down_revision = "0095"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "idempotency_keys",
        id_column(),
        sa.Column("token_id", BigId, nullable=False),
        sa.Column("key_hash", exact(64), nullable=False),
        sa.Column("request_hash", exact(64), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("answer", blob(2**24 - 1)),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.UniqueConstraint("token_id", "key_hash"),
        indexes=[("created_at",)],
    )


def downgrade() -> None:
    drop_table("idempotency_keys")
