"""Who opened and clicked, people and machines apart, and how often.

Revision: 0053, after 0052.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, drop_column

_COLUMNS = (
    "machine_clicked",
    "opened_by_any",
    "clicked_by_any",
    "opens",
    "machine_opens",
    "clicks",
    "machine_clicks",
)

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in _COLUMNS:
        add_column("stats", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in _COLUMNS:
        drop_column("stats", name)
