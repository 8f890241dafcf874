"""The table flow_steps.

Revision: 0019, after 0018.
"""

import sqlalchemy as sa

from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "flow_steps",
        id_column(),
        sa.Column("flow_id", BigId, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("template_id", BigId, nullable=True),
        fk("flow_id", "flows", ondelete="CASCADE"),
        fk("template_id", "templates"),
        sa.UniqueConstraint("flow_id", "position"),
    )


def downgrade() -> None:
    drop_table("flow_steps")
