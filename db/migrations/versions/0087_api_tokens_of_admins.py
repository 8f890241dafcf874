"""Tokens from before there were roles could do everything, and still can.

Revision: 0087, after 0086.
"""

import sqlalchemy as sa
from alembic import op

from db.base import table

revision = "0087"
down_revision = "0086"
branch_labels = None
depends_on = None


def upgrade() -> None:
    tokens = sa.table(table("api_tokens"), sa.column("role"), sa.column("user_id"))
    op.execute(
        tokens.update().where(tokens.c.role.is_(None), tokens.c.user_id.is_(None)).values(role="admin")
    )


def downgrade() -> None:
    pass
