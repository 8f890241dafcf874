"""Which import created a client, and which put it on a list.

Revision: 0034, after 0033.
"""

import sqlalchemy as sa

from db.migrations.steps import add_column, create_index, drop_column, drop_index
from db.types import BigId

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("clients", sa.Column("import_id", BigId, nullable=True))
    create_index("clients", "import_id")
    add_column("client_list_members", sa.Column("import_id", BigId, nullable=True))


def downgrade() -> None:
    drop_column("client_list_members", "import_id")
    drop_index("clients", "import_id")
    drop_column("clients", "import_id")
