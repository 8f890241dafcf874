"""Events know their client: what somebody opened or clicked, and when, is found along one index.

Revision: 0043, after 0042.
"""

import sqlalchemy as sa
from alembic import op

from db.base import table
from db.migrations.steps import add_column, create_index, drop_column, drop_index
from db.types import BigId

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("events", sa.Column("client_id", BigId, nullable=True))
    _fill()
    create_index("events", "client_id", "kind", "occurred_at")


def downgrade() -> None:
    drop_index("events", "client_id", "kind", "occurred_at")
    drop_column("events", "client_id")


def _fill() -> None:
    """The client of an event is that of its message."""
    events = sa.table(table("events"), sa.column("client_id"), sa.column("message_id"))
    messages = sa.table(table("messages"), sa.column("client_id"), sa.column("id"))
    owner = sa.select(messages.c.client_id).where(messages.c.id == events.c.message_id).scalar_subquery()
    is_open = (events.c.client_id.is_(None), events.c.message_id.is_not(None))
    op.execute(sa.update(events).where(*is_open).values(client_id=owner))
