"""The gate of list rules.

Revision: 0041, after 0040.
"""

import sqlalchemy as sa
from alembic import op

from db.base import table
from db.dialect import insert_ignore

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

_GATES = sa.table(table("gates"), sa.column("name", sa.String))


def upgrade() -> None:
    op.execute(insert_ignore(_GATES).values(name="list_rules"))


def downgrade() -> None:
    op.execute(_GATES.delete().where(_GATES.c.name == "list_rules"))
