"""What is due is claimed for each endpoint, so that a slow one keeps no other waiting.

Revision: 0123, after 0122.
"""

from db.migrations.steps import create_index, drop_index

revision = "0123"
down_revision = "0122"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("outgoing_deliveries", "endpoint_id", "state", "due_at")
    drop_index("outgoing_deliveries", "state", "due_at")


def downgrade() -> None:
    create_index("outgoing_deliveries", "state", "due_at")
    drop_index("outgoing_deliveries", "endpoint_id", "state", "due_at")
