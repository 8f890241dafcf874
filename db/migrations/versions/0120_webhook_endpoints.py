"""Other systems that are told what happens here.

Revision: 0120, after 0105.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import JsonDoc, UTCDateTime, blob

revision = "0120"
down_revision = "0105"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "webhook_endpoints",
        id_column(),
        sa.Column("url", sa.String(500), nullable=False),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("events", JsonDoc, nullable=False),
        sa.Column("secret", blob(1000), nullable=False),
        sa.Column("old_secret", blob(1000)),
        sa.Column("old_secret_until", UTCDateTime),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(200)),
        sa.Column("failing_since", UTCDateTime),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime, nullable=False, server_default=utc_now()),
    )


def downgrade() -> None:
    drop_table("webhook_endpoints")
