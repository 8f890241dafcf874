"""Who retried a failed job, and one word for imports that failed.

Revision: 0027, after 0026.
"""

import sqlalchemy as sa
from alembic import op

from db.base import table
from db.migrations.steps import add_column, drop_column

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_JOBS = sa.table(table("failed_jobs"), sa.column("kind", sa.String(40)))


def upgrade() -> None:
    add_column("failed_jobs", sa.Column("retried_by", sa.String(100), nullable=True))
    _rename("member_import", "import")


def downgrade() -> None:
    _rename("import", "member_import")
    drop_column("failed_jobs", "retried_by")


def _rename(old: str, new: str) -> None:
    op.execute(sa.update(_JOBS).where(_JOBS.c.kind == old).values(kind=new))
