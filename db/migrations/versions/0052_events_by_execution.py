"""Events know their execution.

Revision: 0052, after 0051.
"""

import sqlalchemy as sa
from alembic import op

from db.base import table
from db.migrations.steps import add_column, create_index, drop_column, drop_index
from db.types import BigId

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("events", sa.Column("execution_id", BigId, nullable=True))
    _fill()
    create_index("events", "execution_id", "kind")


def downgrade() -> None:
    drop_index("events", "execution_id", "kind")
    drop_column("events", "execution_id")


def _fill() -> None:
    """The execution of an event is that of its message."""
    events = sa.table(table("events"), sa.column("execution_id"), sa.column("message_id"))
    messages = sa.table(table("messages"), sa.column("execution_id"), sa.column("id"))
    owner = sa.select(messages.c.execution_id).where(messages.c.id == events.c.message_id).scalar_subquery()
    is_open = (events.c.execution_id.is_(None), events.c.message_id.is_not(None))
    op.execute(sa.update(events).where(*is_open).values(execution_id=owner))
