"""How the file of an import is written, decided once, and the name of a list that a dry run has not made.

Revision: 0051, after 0050.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("member_imports", sa.Column("layout", sa.JSON(), nullable=True))
    add_column("member_imports", sa.Column("list_name", sa.String(150), nullable=True))


def downgrade() -> None:
    drop_column("member_imports", "list_name")
    drop_column("member_imports", "layout")
