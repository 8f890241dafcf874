"""A message that is sent costs one small write: short states, and no index that every message has to pass through.

Revision: 0026, after 0025.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, create_index, drop_column, drop_index, modify_column
from db.states import Channel, MessageState
from db.types import short_word, word

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None
SPECIAL = "CASE WHEN state IN ('pending', 'accepted') THEN NULL ELSE state END"


def upgrade() -> None:
    modify_column("messages", "state", short_word(MessageState))
    modify_column("messages", "channel", short_word(Channel))
    add_column("messages", sa.Column("special_state", sa.String(24), sa.Computed(SPECIAL, persisted=False)))
    create_index("messages", "execution_id", "special_state", "id")
    drop_index("messages", "execution_id", "state", "id")


def downgrade() -> None:
    create_index("messages", "execution_id", "state", "id")
    drop_index("messages", "execution_id", "special_state", "id")
    drop_column("messages", "special_state")
    modify_column("messages", "channel", word(Channel))
    modify_column("messages", "state", word(MessageState))
