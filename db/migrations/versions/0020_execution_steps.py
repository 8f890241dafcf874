"""The table execution_steps.

Revision: 0020, after 0019.
"""

import sqlalchemy as sa

from db.migrations.steps import create_table, drop_table, fk, id_column
from db.types import BigId

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "execution_steps",
        id_column(),
        sa.Column("execution_id", BigId, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(24), nullable=False),
        sa.Column("template_version_id", BigId, nullable=False),
        sa.Column("client_list_id", BigId, nullable=False),
        sa.Column("sender", sa.JSON(), nullable=False),
        sa.Column("requires_consent", sa.Boolean(), nullable=False),
        fk("execution_id", "flow_executions", ondelete="CASCADE"),
        fk("template_version_id", "template_versions"),
        sa.UniqueConstraint("execution_id", "position"),
    )


def downgrade() -> None:
    drop_table("execution_steps")
