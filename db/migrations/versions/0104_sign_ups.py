"""Who wants to be written to, and has to confirm it.

Revision: 0104, after 0103.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import BigId, JsonDoc, UTCDateTime, exact

revision = "0104"
down_revision = "0103"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "sign_ups",
        id_column(),
        sa.Column("page_id", BigId, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("email", exact(254)),
        sa.Column("given", JsonDoc, nullable=False),
        sa.Column("utm", JsonDoc, nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("mail", sa.String(24), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.String(200)),
        sa.Column("client_id", BigId),
        sa.Column("address", exact(45)),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("tried_at", UTCDateTime),
        sa.Column("confirmed_at", UTCDateTime),
        indexes=[("email", "created_at"), ("mail", "id"), ("state", "created_at"), ("page_id", "id")],
    )


def downgrade() -> None:
    drop_table("sign_ups")
