"""How far the undoing of an import is among the clients that it created.

Revision: 0050, after 0049.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column
from db.types import BigId

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("member_imports", sa.Column("undo_position", BigId, nullable=True))


def downgrade() -> None:
    drop_column("member_imports", "undo_position")
