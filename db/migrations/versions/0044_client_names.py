"""Indexes by name: people look for clients by the beginning of either.

Revision: 0044, after 0043.
"""

from db.migrations.steps import create_index, drop_index

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("clients", "last_name", "first_name", any_case=True)
    create_index("clients", "first_name", any_case=True)


def downgrade() -> None:
    drop_index("clients", "first_name")
    drop_index("clients", "last_name", "first_name")
