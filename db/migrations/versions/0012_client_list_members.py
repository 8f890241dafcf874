"""The table client_list_members.

Revision: 0012, after 0011.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk
from db.types import BigId, UTCDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "client_list_members",
        sa.Column("client_list_id", BigId, autoincrement=False),
        sa.Column("client_id", BigId, autoincrement=False),
        sa.Column("added_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.PrimaryKeyConstraint("client_list_id", "client_id"),
        fk("client_list_id", "client_lists", ondelete="CASCADE"),
        fk("client_id", "clients", ondelete="CASCADE"),
        indexes=[("client_id",)],
    )


def downgrade() -> None:
    drop_table("client_list_members")
