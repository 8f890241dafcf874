"""Tokens may be held to some abilities.

Revision: 0083, after 0082.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column
from db.types import JsonDoc

revision = "0083"
down_revision = "0082"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("api_tokens", sa.Column("abilities", JsonDoc))


def downgrade() -> None:
    drop_column("api_tokens", "abilities")
