"""Tokens expire.

Revision: 0084, after 0083.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column
from db.types import UTCDateTime

revision = "0084"
down_revision = "0083"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("api_tokens", sa.Column("expires_at", UTCDateTime))


def downgrade() -> None:
    drop_column("api_tokens", "expires_at")
