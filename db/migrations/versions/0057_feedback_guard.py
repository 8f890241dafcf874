"""What guards an execution, what its receivers may choose, and which batch a provider's id belongs to.

Revision: 0057, after 0056.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, create_index, drop_column, drop_index

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("flow_executions", sa.Column("warning", sa.Text(), nullable=True))
    add_column("flow_executions", sa.Column("is_guarded", sa.Boolean(), nullable=False, server_default="1"))
    add_column("flows", sa.Column("topic", sa.String(100), nullable=True))
    add_column(
        "flows",
        sa.Column("unsubscribe_scope", sa.String(24), nullable=False, server_default="everywhere"),
    )
    create_index("batches", "provider_message_id")
    add_column("webhook_deliveries", sa.Column("size", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    drop_column("webhook_deliveries", "size")
    drop_index("batches", "provider_message_id")
    drop_column("flows", "unsubscribe_scope")
    drop_column("flows", "topic")
    drop_column("flow_executions", "is_guarded")
    drop_column("flow_executions", "warning")
