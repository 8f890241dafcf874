"""A token that belongs to nobody has a role of its own.

Revision: 0082, after 0081.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0082"
down_revision = "0081"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("api_tokens", sa.Column("role", sa.String(24)))


def downgrade() -> None:
    drop_column("api_tokens", "role")
