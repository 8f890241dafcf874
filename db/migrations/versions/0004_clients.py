"""The table clients.

Revision: 0004, after 0003.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, exact

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "clients",
        id_column(),
        sa.Column("identity_key", exact(254), nullable=False),
        sa.Column("external_id", exact(100), nullable=True),
        sa.Column("email", exact(254), nullable=True),
        sa.Column("phone", exact(16), nullable=True),
        sa.Column("first_name", sa.String(100), nullable=False, server_default=""),
        sa.Column("last_name", sa.String(100), nullable=False, server_default=""),
        sa.Column("time_zone", sa.String(64), nullable=True),
        sa.Column("locale", sa.String(35), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("custom_fields", sa.JSON(), nullable=False),
        sa.Column("email_consent", sa.String(24), nullable=False),
        sa.Column("sms_consent", sa.String(24), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.UniqueConstraint("identity_key"),
        indexes=[("email",), ("external_id",), ("phone",)],
    )


def downgrade() -> None:
    drop_table("clients")
