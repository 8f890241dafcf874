"""Tokens belong to users.

Revision: 0081, after 0080.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column
from db.types import BigId

revision = "0081"
down_revision = "0080"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("api_tokens", sa.Column("user_id", BigId))


def downgrade() -> None:
    drop_column("api_tokens", "user_id")
