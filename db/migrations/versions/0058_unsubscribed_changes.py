"""The table unsubscribed_changes, with what is known of the suppressions there are.

Revision: 0058, after 0057.
"""

import sqlalchemy as sa
from alembic import op

from db.base import table
from db.dialect import utc_now
from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId, UTCDateTime

_SAID = ("active", "effective_at", "source", "evidence")

revision = "0058"
down_revision = "0057"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "unsubscribed_changes",
        id_column(),
        sa.Column("suppression_id", BigId, nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("effective_at", UTCDateTime(), nullable=False),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("changed_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        fk("suppression_id", "unsubscribed", ondelete="CASCADE"),
        indexes=[("suppression_id",)],
    )
    _fill()


def downgrade() -> None:
    drop_table("unsubscribed_changes")


def _fill() -> None:
    """Of what came before only the last change of each is known."""
    changes, rows = table("unsubscribed_changes"), table("unsubscribed")
    names = ", ".join(_SAID)
    op.execute(
        f"INSERT INTO {changes} (suppression_id, {names}, changed_at) SELECT id, {names}, updated_at FROM {rows} "
        f"WHERE id NOT IN (SELECT suppression_id FROM {changes})"
    )
