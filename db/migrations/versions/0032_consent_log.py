"""The table consent_log.

Revision: 0032, after 0031.
"""

import sqlalchemy as sa

from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, UTCDateTime

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "consent_log",
        id_column(),
        sa.Column("client_id", BigId, nullable=False),
        sa.Column("channel", sa.String(24), nullable=False),
        sa.Column("consent", sa.String(24), nullable=False),
        sa.Column("given_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("source", sa.String(60), nullable=False),
        sa.Column("wording", sa.Text(), nullable=True),
        fk("client_id", "clients", ondelete="CASCADE"),
        indexes=[("client_id", "id")],
    )


def downgrade() -> None:
    drop_table("consent_log")
