"""The table flows.

Revision: 0013, after 0012.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, UTCDateTime, exact

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "flows",
        id_column(),
        sa.Column("name", exact(150), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("client_list_id", BigId, nullable=True),
        sa.Column("sender", sa.JSON(), nullable=False),
        sa.Column("requires_consent", sa.Boolean(), nullable=False),
        sa.Column("deployment_synced_at", UTCDateTime(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        fk("client_list_id", "client_lists"),
        sa.UniqueConstraint("name"),
    )


def downgrade() -> None:
    drop_table("flows")
