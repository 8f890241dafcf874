"""The table former_members.

Revision: 0033, after 0032.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, UTCDateTime

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "former_members",
        id_column(),
        sa.Column("client_list_id", BigId, nullable=False),
        sa.Column("client_id", BigId, nullable=False),
        sa.Column("added_at", UTCDateTime(), nullable=False),
        sa.Column("removed_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("removed_by", sa.String(60), nullable=False),
        fk("client_id", "clients", ondelete="CASCADE"),
        indexes=[("client_id",)],
    )


def downgrade() -> None:
    drop_table("former_members")
