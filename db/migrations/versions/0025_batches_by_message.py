"""An index to find the batch of a message, whose evidence has to hold it.

Revision: 0025, after 0024.
"""

from db.migrations.steps import create_index, drop_index

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("batches", "execution_id", "first_message_id")


def downgrade() -> None:
    drop_index("batches", "execution_id", "first_message_id")
