"""Users of the platform: who they are, their role and the hash of their password.

Revision: 0080, after 0072.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, exact

revision = "0080"
down_revision = "0072"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "users",
        id_column(),
        sa.Column("email", exact(254), nullable=False, unique=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("role", sa.String(24), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("last_login_at", UTCDateTime),
    )


def downgrade() -> None:
    drop_table("users")
