"""How long the webhooks of the last minute waited is told from an index.

Revision: 0071, after 0070.
"""

from db.migrations.steps import create_index, drop_index

revision = "0071"
down_revision = "0070"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("webhook_deliveries", "applied_at", "received_at")


def downgrade() -> None:
    drop_index("webhook_deliveries", "applied_at", "received_at")
