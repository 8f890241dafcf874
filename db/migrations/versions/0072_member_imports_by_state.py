"""Imports are looked for by state.

Revision: 0072, after 0071.
"""

from db.migrations.steps import create_index, drop_index

revision = "0072"
down_revision = "0071"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("member_imports", "state", "id")


def downgrade() -> None:
    drop_index("member_imports", "state", "id")
