"""The table gates.

Revision: 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

from db.base import table
from db.dialect import insert_ignore
from db.migrations.steps import create_table, drop_table
from db.types import exact

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "gates",
        sa.Column("name", exact(40), primary_key=True),
    )
    gates = sa.table(table("gates"), sa.column("name", sa.String))
    op.execute(insert_ignore(gates).values(name="suppressions"))


def downgrade() -> None:
    drop_table("gates")
