"""Mails are counted by mailbox, however its address is written.

Revision: 0124, after 0123.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, create_index, drop_column, drop_index
from db.types import exact

revision = "0124"
down_revision = "0123"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("sign_ups", sa.Column("mailbox", exact(254)))
    create_index("sign_ups", "mailbox", "created_at")


def downgrade() -> None:
    drop_index("sign_ups", "mailbox", "created_at")
    drop_column("sign_ups", "mailbox")
