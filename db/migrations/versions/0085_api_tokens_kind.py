"""What a login gives is told from a token.

Revision: 0085, after 0084.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0085"
down_revision = "0084"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("api_tokens", sa.Column("kind", sa.String(24), nullable=False, server_default="token"))


def downgrade() -> None:
    drop_column("api_tokens", "kind")
