"""${message}

Revision: ${up_revision}, after ${down_revision | comma,n}.

Before you write: one table or one ALTER a migration, since MySQL commits each DDL statement by itself. `upgrade`
must be safe to run again after it was cut in the middle (see `db/migrations/steps.py`), and a column that running
code does not know yet must be nullable or have a server default.
"""

import sqlalchemy as sa
from alembic import op

from db.base import table
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
